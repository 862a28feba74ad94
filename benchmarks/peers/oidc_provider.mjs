// oidc-provider: client credentials alone, its default adapter (in memory), JWT access tokens by resource indicators.

import Provider from 'oidc-provider';

import { serve } from './cluster.mjs';
import { audience, clientId, isSecret, issuer, lifetimeSeconds, secretDigest, signingKey } from './credentials.mjs';

const resourceServer = {
  scope: 'merchant',
  audience,
  accessTokenTTL: lifetimeSeconds,
  accessTokenFormat: 'jwt',
  jwt: { sign: { alg: 'HS256', key: signingKey } },
};

function makeHandler() {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: clientId,
      client_secret: secretDigest,
      token_endpoint_auth_method: 'client_secret_post',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    }],
    scopes: ['merchant'],
    routes: { token: '/token' },
    ttl: { ClientCredentials: lifetimeSeconds },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        getResourceServerInfo: () => resourceServer,
      },
    },
  });
  // Its own way compares the secret itself; only a digest is kept here, as everywhere else.
  provider.Client.prototype.compareClientSecret = isSecret;
  return provider.callback();
}

await serve(makeHandler);
