<?php
/**
 * Verifies deliveries of moodle-relay (Standard Webhooks). One file, without dependencies: take it along as it is.
 * PHP 7.2 or later; Ed25519 with the extension sodium, which PHP brings along.
 *
 *     $body = file_get_contents('php://input');        // the bytes as they came, before json_decode
 *     try {
 *         $eventid = relay_verify(['whsec_...'], relay_headers(), $body);
 *     } catch (RelayRefused $refused) {
 *         http_response_code(401);                     // $refused->reason says why
 *         exit;
 *     }
 *
 * Headers: relay_headers(), getallheaders(), $_SERVER, or those of a framework's request as an array (names in any case,
 * values texts or lists of texts). The body is a string: what json_decode made of it is not what was signed.
 * Keys: `whsec_...` (HMAC-SHA256) and `whpk_...` (Ed25519). Give all that are valid now: where a key is being changed,
 * the old one and the new one. Drop what you have by the event id.
 */

/** A delivery that is not to be trusted. */
class RelayRefused extends Exception
{
    /** @var string bad_key, unsigned, malformed, unknown_key, wrong_signature (another key, or a changed body), clock */
    public $reason;

    public function __construct(string $reason)
    {
        parent::__construct("The delivery is refused: $reason.");
        $this->reason = $reason;
    }
}

/** Returns headers, those of this request by default, their names in lower case with `-`, their values as texts. */
function relay_headers(?array $headers = null): array
{
    $found = [];
    foreach ($headers ?? $_SERVER as $name => $value) {
        $name = (string) $name;
        if (strpos($name, 'HTTP_') === 0) {
            $name = str_replace('_', '-', substr($name, 5));
        }
        $found[strtolower($name)] = is_array($value) ? implode(' ', $value) : (string) $value;
    }
    return $found;
}

/**
 * Returns the event id of a delivery that one of the keys has signed, and not long ago. Throws RelayRefused.
 *
 * Throws InvalidArgumentException for a body that is no string.
 *
 * $now: unix seconds, this machine's clock by default. $tolerance: how far webhook-timestamp may be from it, in seconds.
 */
function relay_verify(array $keys, array $headers, $body, ?int $now = null, int $tolerance = 300): string
{
    if (!is_string($body)) {
        throw new InvalidArgumentException(
            'relay_verify: the body must be the bytes as they came, and is ' . gettype($body) . '. Is it JSON that was ' .
            "decoded already? Take file_get_contents('php://input'), and json_decode after relay_verify."
        );
    }
    [$secrets, $public] = relay_parse_keys($keys);
    $headers = relay_headers($headers);
    $id = $headers['webhook-id'] ?? '';
    $timestamp = $headers['webhook-timestamp'] ?? '';
    if (($headers['webhook-signature'] ?? '') === '') {
        throw new RelayRefused('unsigned');
    }
    if (!preg_match('/\A[A-Za-z0-9_-]{1,100}\z/', $id) || !preg_match('/\A[0-9]{1,15}\z/', $timestamp)) {
        throw new RelayRefused('malformed');
    }
    $message = "$id.$timestamp.$body";
    $reason = 'unknown_key';
    foreach (explode(' ', $headers['webhook-signature']) as $one) {
        [$kind, $text] = explode(',', $one, 2) + [1 => ''];
        if (!($kind === 'v1' && $secrets) && !($kind === 'v1a' && $public)) {
            continue;
        }
        $reason = 'wrong_signature';
        if (relay_fits($kind, relay_decode($text), $message, $kind === 'v1' ? $secrets : $public)) {
            if (abs(($now ?? time()) - (int) $timestamp) > $tolerance) {
                throw new RelayRefused('clock');
            }
            return $id;
        }
    }
    throw new RelayRefused($reason);
}

/** Says whether one of the keys of a kind has made this signature of the message. */
function relay_fits(string $kind, string $signature, string $message, array $keys): bool
{
    foreach ($keys as $key) {
        if ($kind === 'v1' && hash_equals(hash_hmac('sha256', $message, $key, true), $signature)) {
            return true;
        }
        if ($kind === 'v1a') {
            if (!function_exists('sodium_crypto_sign_verify_detached')) {
                throw new RuntimeException('whpk_ keys need the extension sodium.');
            }
            if (strlen($signature) === 64 && sodium_crypto_sign_verify_detached($signature, $message, $key)) {
                return true;
            }
        }
    }
    return false;
}

/** Returns the secrets and the public keys. Throws RelayRefused: an empty secret would let everybody sign. */
function relay_parse_keys(array $keys): array
{
    $found = ['whsec' => [], 'whpk' => []];
    foreach ($keys as $key) {
        // A file that holds a key ends with a line's end.
        [$kind, $text] = explode('_', trim((string) $key), 2) + [1 => ''];
        $raw = relay_decode($text);
        if (!isset($found[$kind]) || $raw === '' || ($kind === 'whpk' && strlen($raw) !== 32)) {
            throw new RelayRefused('bad_key');
        }
        $found[$kind][] = $raw;
    }
    return [$found['whsec'], $found['whpk']];
}

/** Returns what a text of base64 stands for; '' where it is none. */
function relay_decode(string $text): string
{
    $raw = base64_decode($text, true);
    // Bits that say nothing could make two texts of one signature.
    return $raw !== false && base64_encode($raw) === $text ? $raw : '';
}
