// The one client that a peer knows: its id, the SHA-256 of its secret, and the key that signs its tokens.

import { createSecretKey, hash, timingSafeEqual } from 'node:crypto';
import process from 'node:process';

export const clientId = process.env.PEER_CLIENT_ID;
export const secretDigest = process.env.PEER_SECRET_SHA256;
export const signingKey = createSecretKey(Buffer.from(process.env.PEER_SIGNING_KEY, 'hex'));
export const lifetimeSeconds = 28_800;
export const issuer = 'http://127.0.0.1';
export const audience = 'urn:ecross:api';

const expected = Buffer.from(secretDigest, 'hex');

export function isSecret(presented) {
  return timingSafeEqual(hash('sha256', presented, 'buffer'), expected);
}
