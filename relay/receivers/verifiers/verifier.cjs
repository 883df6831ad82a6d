'use strict';
/*
 * Verifies deliveries of moodle-relay (Standard Webhooks). One file, without dependencies: take it along as it is.
 * Node 12 or later. Save it as verifier.cjs.
 *
 *     const { verify } = require('./verifier.cjs');     // or: import { verify } from './verifier.cjs'
 *     try {
 *         const eventId = verify(['whsec_...'], request.headers, body);   // body: a Buffer, as it came
 *     } catch (refused) {
 *         response.writeHead(401).end();                // refused.reason says why
 *     }
 *
 * Keep the body's bytes: with Express, `express.raw({ type: 'application/json' })`, and JSON.parse after `verify`.
 * Keys: `whsec_...` (HMAC-SHA256) and `whpk_...` (Ed25519). Give all that are valid now: where a key is being changed,
 * the old one and the new one. Drop what you have by the event id.
 */
const crypto = require('crypto');

// What stands in front of the 32 bytes of an Ed25519 public key in DER (RFC 8410).
const ED25519 = Buffer.from('302a300506032b6570032100', 'hex');

/** A delivery that is not to be trusted. */
class Refused extends Error {
    /** reason: bad_key, unsigned, malformed, unknown_key, wrong_signature (another key, or a changed body), clock */
    constructor(reason) {
        super(`The delivery is refused: ${reason}.`);
        this.reason = reason;
    }
}

/**
 * Returns the event id of a delivery that one of the keys has signed, and not long ago. Throws Refused.
 *
 * now: unix seconds, this machine's clock by default. tolerance: how far webhook-timestamp may be from it, in seconds.
 */
function verify(keys, headers, body, { now = Date.now() / 1000, tolerance = 300 } = {}) {
    const known = parsed(keys);
    const given = {};
    for (const [name, value] of Object.entries(headers)) {
        given[name.toLowerCase()] = String(value);
    }
    const id = given['webhook-id'] || '';
    const timestamp = given['webhook-timestamp'] || '';
    if (!given['webhook-signature']) {
        throw new Refused('unsigned');
    }
    if (!/^[A-Za-z0-9_-]{1,100}$/.test(id) || !/^[0-9]{1,15}$/.test(timestamp)) {
        throw new Refused('malformed');
    }
    const message = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.from(body)]);
    let reason = 'unknown_key';
    for (const one of given['webhook-signature'].split(' ')) {
        const [, kind, text] = /^([^,]*),?(.*)$/s.exec(one);
        const ours = kind === 'v1' ? known.whsec : kind === 'v1a' ? known.whpk : [];
        if (ours.length === 0) {
            continue;
        }
        reason = 'wrong_signature';
        if (ours.some((key) => fits(kind, decoded(text), message, key))) {
            if (Math.abs(now - Number(timestamp)) > tolerance) {
                throw new Refused('clock');
            }
            return id;
        }
    }
    throw new Refused(reason);
}

/** Says whether a key of a kind has made this signature of the message. */
function fits(kind, signature, message, key) {
    if (kind === 'v1') {
        const expected = crypto.createHmac('sha256', key).update(message).digest();
        return signature.length === expected.length && crypto.timingSafeEqual(signature, expected);
    }
    const der = Buffer.concat([ED25519, key]);
    return crypto.verify(null, message, crypto.createPublicKey({ key: der, format: 'der', type: 'spki' }), signature);
}

/** Returns the secrets and the public keys. Throws Refused: an empty secret would let everybody sign. */
function parsed(keys) {
    const found = { whsec: [], whpk: [] };
    for (const key of keys) {
        const [, kind, text] = /^([^_]*)_?(.*)$/s.exec(key);
        const raw = decoded(text);
        if (!Object.hasOwnProperty.call(found, kind) || raw.length === 0 || (kind === 'whpk' && raw.length !== 32)) {
            throw new Refused('bad_key');
        }
        found[kind].push(raw);
    }
    return found;
}

/** Returns what a text of base64 stands for; nothing where it is none. */
function decoded(text) {
    const raw = Buffer.from(text, 'base64');
    // Node takes much for base64; and bits that say nothing could make two texts of one signature.
    return raw.toString('base64') === text ? raw : Buffer.alloc(0);
}

module.exports = { verify, Refused };
