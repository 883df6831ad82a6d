<?php
// Prints what the verifier (the first argument) says of each vector (the second), as a JSON list.
require $argv[1];
$said = [];
foreach (json_decode(file_get_contents($argv[2]), true) as $one) {
    try {
        relay_verify($one['keys'], $one['headers'], $one['body'], $one['now']);
        $said[] = 'ok';
    } catch (RelayRefused $refused) {
        $said[] = $refused->reason;
    }
}
echo json_encode($said);
