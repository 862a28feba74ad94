// @node-oauth/oauth2-server behind express, as its documentation shows it.

import { randomUUID } from 'node:crypto';

import OAuth2Server from '@node-oauth/oauth2-server';
import express from 'express';
import jwt from 'jsonwebtoken';

import { serve } from './cluster.mjs';
import { audience, clientId, isSecret, issuer, lifetimeSeconds, signingKey } from './credentials.mjs';

const clients = new Map([[clientId, { id: clientId, grants: ['client_credentials'] }]]);

// Nothing is stored: a signed token needs no row.
const model = {
  getClient: (id, secret) => {
    const client = clients.get(id);
    return client !== undefined && isSecret(secret) ? client : false;
  },
  getUserFromClient: (client) => ({ id: client.id }),
  validateScope: () => ['merchant'],
  generateAccessToken: (client) => jwt.sign(
    { client_id: client.id, scope: 'merchant' },
    signingKey,
    { algorithm: 'HS256', expiresIn: lifetimeSeconds, issuer, audience, subject: client.id, jwtid: randomUUID() },
  ),
  saveToken: (token, client, user) => ({ ...token, client, user }),
};

function makeHandler() {
  const oauth = new OAuth2Server({ model, accessTokenLifetime: lifetimeSeconds });
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.post('/token', express.urlencoded({ extended: false }), async (req, res) => {
    const request = new OAuth2Server.Request(req);
    const response = new OAuth2Server.Response(res);
    try {
      await oauth.token(request, response);
      res.set(response.headers).json(response.body);
    } catch (error) {
      res.set(response.headers).status(error.code ?? 500).json({ error: error.name, error_description: error.message });
    }
  });
  return app;
}

await serve(makeHandler);
