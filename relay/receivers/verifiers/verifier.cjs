'use strict';
/*
 * Verifies deliveries of moodle-relay (Standard Webhooks). One file, without dependencies: take it along as it is.
 * Node 12 or later. Save it as verifier.cjs.
 *
 *     const { verify, Refused } = require('./verifier.cjs');   // or: import { verify, Refused } from './verifier.cjs'
 *     try {
 *         const eventId = verify(['whsec_...'], request.headers, body);   // body: a Buffer, as it came
 *     } catch (error) {
 *         if (!(error instanceof Refused)) throw error; // a fault of the program: no bytes, for instance
 *         response.writeHead(401).end();                // error.reason says why
 *     }
 *
 * Headers: those of Node (Express, Koa), fetch's `Headers`, a Map or an object; names in any case.
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
 * Throws TypeError for a body that is no bytes: JSON that was parsed is not what was signed.
 */
function verify(keys, headers, body, { now = Date.now() / 1000, tolerance = 300 } = {}) {
    const known = parsed(keys);
    const bytes = bytesOf(body);
    const given = {};
    for (const [name, value] of typeof headers.entries === 'function' ? headers.entries() : Object.entries(headers)) {
        given[String(name).toLowerCase()] = String(value);
    }
    const id = given['webhook-id'] || '';
    const timestamp = given['webhook-timestamp'] || '';
    if (!given['webhook-signature']) {
        throw new Refused('unsigned');
    }
    if (!/^[A-Za-z0-9_-]{1,100}$/.test(id) || !/^[0-9]{1,15}$/.test(timestamp)) {
        throw new Refused('malformed');
    }
    const message = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), bytes]);
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

/** Returns the bytes of a body: a Buffer, another view of bytes, an ArrayBuffer, or a text as it came. */
function bytesOf(body) {
    if (typeof body === 'string' || body instanceof ArrayBuffer) {
        return Buffer.from(body);
    }
    if (ArrayBuffer.isView(body)) {
        return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    }
    const found = body === null ? 'null' : typeof body;
    throw new TypeError(
        `verify: the body must be the bytes as they came, and is ${found}. Is it JSON that was parsed already? ` +
        "With Express: express.raw({ type: 'application/json' }) on this path, and JSON.parse after verify.");
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
    for (const key of typeof keys === 'string' ? [keys] : keys) {
        // A file that holds a key ends with a line's end.
        const [, kind, text] = /^([^_]*)_?(.*)$/s.exec(String(key).trim());
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
