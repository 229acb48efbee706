<?php
/*
 * A small provisioning service in plain PHP (command line, no extension but openssl), to stand behind a Sallyport relay.
 *
 * It answers phones by HTTPS: at start-up it writes their poll address, and when they call it does what is queued. Work
 * is queued by HTTP on loopback, and the phone is called by a contact-me request to the address that it announced, as any
 * service does that knows nothing of Sallyport: the relay takes that request in the phone's place.
 *
 *   php service.php --listen=127.0.0.1:18443 --cert=dls.pem --key=dls.key --jobs=127.0.0.1:18000 \
 *     --write=dcmp-url=http://proxy.example:8080/dcmp/
 *   curl -d '{"realm": "example"}' http://127.0.0.1:18000/phones/00:1A:E8:12:34:56
 *   curl http://127.0.0.1:18000/phones/00:1A:E8:12:34:56
 */
declare(strict_types=1);

const LARGEST = 1_000_000;   // bytes of a request; a reply with all items is about 20 kB
const CONNECTIONS = 500;     // at once; further ones wait in the system's queue
const IDLE_S = 60;           // a connection on which nothing comes is closed
const HANDSHAKE_S = 10;
const SESSIONS = 10_000;     // that wait for a phone's reply; the oldest goes

$options = getopt('', ['listen:', 'cert:', 'key:', 'jobs:', 'write:']);
foreach (['listen', 'cert', 'key', 'jobs'] as $name) {
    if (!is_string($options[$name] ?? null)) {
        fwrite(STDERR, "service.php: --$name=… is missing\n");
        exit(2);
    }
}
$startUpItems = [];
foreach ((array) ($options['write'] ?? []) as $item) {
    [$name, $value] = explode('=', $item, 2) + [1 => ''];
    $startUpItems[$name] = $value;
}

/** What is known of each phone, by mac-addr in lower case: its jobs, its results, where it wants to be contacted. */
$phones = [];
/** Sessions by cookie: which phone, what it was told last, and whether that was a job. Replies name no phone. */
$sessions = [];

function &phone(string $mac): array
{
    global $phones;
    $mac = strtolower($mac);
    $phones[$mac] ??= ['jobs' => [], 'results' => [], 'contactMe' => null];
    return $phones[$mac];
}

/** Reads a phone's document, whose parts stand in a fixed order of attributes in no firmware; null where it is none. */
function readMessage(string $body): ?array
{
    if (!preg_match('~<Message\s[^>]*?nonce="([^"]*)"~', $body, $message)) return null;
    if (!preg_match('~<ReasonForContact([^>]*)>\s*([\w-]+)\s*</ReasonForContact>~', $body, $reason)) return null;
    preg_match('~\sstatus="([^"]*)"~', $reason[1], $status);
    preg_match_all('~<Item\s([^>]*?)/?>(?:([^<]*)</Item>)?~', $body, $found, PREG_SET_ORDER);
    $items = $refused = [];
    foreach ($found as $item) {
        if (!preg_match('~\bname="([^"]*)"~', $item[1], $name)) continue;
        $items[$name[1]] = html_entity_decode(trim($item[2] ?? ''), ENT_QUOTES | ENT_XML1);
        if (str_contains($item[1], 'status=')) $refused[] = $name[1];
    }
    return [
        'nonce' => $message[1],
        'reason' => $reason[2],
        'status' => strtolower($status[1] ?? ''),
        'items' => $items,
        'refused' => $refused,
    ];
}

/** A service's message. The nonce is that of the message that is answered. */
function document(string $nonce, string $action, array $items = []): string
{
    $text = fn (string $value): string => htmlspecialchars($value, ENT_QUOTES | ENT_XML1);
    $list = '';
    foreach ($items as $name => $value) $list .= '<Item name="' . $text((string) $name) . '">' . $text($value) . '</Item>';
    return '<?xml version="1.0" encoding="utf-8"?>' . "\n" . '<DLSMessage xmlns="http://www.siemens.com/DLS">'
        . '<Message nonce="' . $text($nonce) . '"><Action>' . $action . '</Action>'
        . ($list === '' ? '' : "<ItemList>$list</ItemList>") . "</Message></DLSMessage>\n";
}

/** Writes items, and remembers by the cookie whose reply will come. */
function write(string $nonce, string $cookie, string $mac, array $items, bool $queued): string
{
    global $sessions;
    $sessions[$cookie] = ['mac' => $mac, 'told' => $items, 'queued' => $queued];
    // Of a phone that never replied, most likely.
    if (count($sessions) > SESSIONS) unset($sessions[array_key_first($sessions)]);
    return document($nonce, 'WriteItems', $items);
}

/** Answers a phone: status, body, cookie. */
function answerPhone(string $body, string $cookie): array
{
    global $sessions, $startUpItems;
    $message = readMessage($body);
    if ($message === null) return [400, '', null];
    ['nonce' => $nonce, 'reason' => $reason, 'items' => $items] = $message;
    $queued = false;
    if ($reason === 'reply-to') {
        if (!isset($sessions[$cookie])) return [400, '', null];
        ['mac' => $mac, 'told' => $told, 'queued' => $queued] = $sessions[$cookie];
        unset($sessions[$cookie]);
        if ($queued && $message['status'] === 'busy') {
            // In a call: the work stays, and the phone shall come again when it is idle.
            array_unshift(phone($mac)['jobs'], $told);
            return [200, document($nonce, 'CleanUp', ['send-solicited' => 'true']), $cookie];
        }
        if ($queued) phone($mac)['results'][] = ['status' => $message['status'], 'refused' => $message['refused']];
    } else {
        if (!isset($items['mac-addr'])) return [400, '', null];
        $mac = $items['mac-addr'];
        $cookie = bin2hex(random_bytes(16));
        phone($mac)['contactMe'] = $items['contact-me-uri'] ?? null;
        if ($reason === 'start-up' && $startUpItems !== []) {
            return [200, write($nonce, $cookie, $mac, $startUpItems, false), $cookie];
        }
    }
    if (($reason === 'solicited' || $queued) && phone($mac)['jobs'] !== []) {
        return [200, write($nonce, $cookie, $mac, array_shift(phone($mac)['jobs']), true), $cookie];
    }
    return [200, document($nonce, 'CleanUp'), $cookie];
}

/** Asks the phone to call, once, as phones do not bear more. */
function callPhone(string $mac): string
{
    $uri = phone($mac)['contactMe'];
    if ($uri === null) return "$mac has announced no address to be contacted at";
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => "Content-Type: application/x-www-form-urlencoded\r\nConnection: close",
        'content' => 'ContactMe=true',
        'timeout' => 10,
    ]]);
    return @file_get_contents($uri, false, $context) === false ? "$uri did not take the contact-me" : '';
}

/** Answers whoever brings work: status, body. */
function answerJobs(string $method, string $path, string $body): array
{
    if (!preg_match('~^/phones/(.+)$~', $path, $found)) return [404, ''];
    $mac = rawurldecode($found[1]);
    if ($method !== 'POST') {
        $phone = phone($mac);
        return [200, json_encode(['queued' => count($phone['jobs']), 'results' => $phone['results']])];
    }
    $items = json_decode($body, true);
    if (!is_array($items)) return [400, 'expected {"item": "value"}'];
    phone($mac)['jobs'][] = array_map('strval', $items);
    $failure = callPhone($mac);
    return $failure === '' ? [202, '{"called": 204}'] : [502, "queued, but not called: $failure"];
}

/** Takes one whole request off a buffer: method, path, headers, body; null where it is not whole yet, false where it is none. */
function takeRequest(string &$buffer): array|null|false
{
    if (strlen($buffer) > LARGEST) return false;
    $end = strpos($buffer, "\r\n\r\n");
    if ($end === false) return null;
    $lines = explode("\r\n", substr($buffer, 0, $end));
    if (!preg_match('~^([A-Z]+) (\S+) HTTP/1\.[01]$~', array_shift($lines), $first)) return false;
    $headers = [];
    foreach ($lines as $line) {
        [$name, $value] = explode(':', $line, 2) + [1 => ''];
        $headers[strtolower($name)] = trim($value);
    }
    $length = $headers['content-length'] ?? '0';
    if (!ctype_digit($length) || isset($headers['transfer-encoding'])) return false;
    if (strlen($buffer) < $end + 4 + (int) $length) return null;
    $body = substr($buffer, $end + 4, (int) $length);
    $buffer = substr($buffer, $end + 4 + (int) $length);
    return [$first[1], $first[2], $headers, $body];
}

function listenAt(string $address, array $ssl = [])
{
    $context = stream_context_create(['ssl' => $ssl, 'socket' => ['backlog' => 511]]);
    $server = stream_socket_server("tcp://$address", $_, $why, STREAM_SERVER_BIND | STREAM_SERVER_LISTEN, $context);
    if ($server === false) {
        fwrite(STDERR, "service.php: cannot listen on $address: $why\n");
        exit(1);
    }
    return $server;
}

$phoneServer = listenAt($options['listen'], ['local_cert' => $options['cert'], 'local_pk' => $options['key']]);
$jobServer = listenAt($options['jobs']);
$portOf = fn ($server): int => (int) substr(strrchr(stream_socket_get_name($server, false), ':'), 1);
echo json_encode(['msg' => 'ready', 'phones' => $portOf($phoneServer), 'jobs' => $portOf($jobServer)]), "\n";

/** Open connections by number: socket, whose they are, what came, until when they may idle, whether TLS is made. */
$open = [];
$close = function (int $id) use (&$open): void {
    fclose($open[$id]['socket']);
    unset($open[$id]);
};

while (true) {
    $read = array_column($open, 'socket');
    if (count($open) < CONNECTIONS) array_push($read, $phoneServer, $jobServer);
    $write = $except = null;
    if (stream_select($read, $write, $except, 1) === false) continue;

    foreach ($read as $socket) {
        if ($socket === $phoneServer || $socket === $jobServer) {
            $connection = @stream_socket_accept($socket, 0);
            if ($connection === false) continue;
            stream_set_blocking($connection, false);
            $forPhones = $socket === $phoneServer;
            $open[get_resource_id($connection)] = [
                'socket' => $connection,
                'forPhones' => $forPhones,
                'buffer' => '',
                'until' => time() + ($forPhones ? HANDSHAKE_S : IDLE_S),
                'ready' => !$forPhones,
            ];
            continue;
        }
        $id = get_resource_id($socket);
        $connection = &$open[$id];
        if (!$connection['ready']) {
            $made = @stream_socket_enable_crypto($socket, true, STREAM_CRYPTO_METHOD_TLS_SERVER);
            if ($made === false) $close($id);
            elseif ($made === true) $connection['ready'] = true;
            unset($connection);
            continue;
        }
        // TLS may hold more than one read gives, and the socket would not say so again.
        while (($piece = @fread($socket, 65536)) !== false && $piece !== '') $connection['buffer'] .= $piece;
        $connection['until'] = time() + IDLE_S;
        $ended = feof($socket);
        while (($request = takeRequest($connection['buffer'])) !== null) {
            if ($request === false) {
                $ended = true;
                break;
            }
            [$method, $path, $headers, $body] = $request;
            $cookie = null;
            if ($connection['forPhones']) {
                // Phones send back the whole of Set-Cookie, attributes included.
                preg_match('~SESSION=([0-9a-f]+)~', $headers['cookie'] ?? '', $sent);
                [$status, $answer, $cookie] = $method === 'POST' ? answerPhone($body, $sent[1] ?? '') : [405, '', null];
            } else {
                [$status, $answer] = answerJobs($method, $path, $body);
            }
            $ended = $ended || $status >= 400 || strtolower($headers['connection'] ?? '') === 'close';
            // Old firmware cannot read chunks: always a length.
            stream_set_blocking($socket, true);
            @fwrite($socket, "HTTP/1.1 $status Answer\r\nContent-Type: " . ($connection['forPhones'] ? 'text/xml' : 'application/json')
                . "\r\nContent-Length: " . strlen($answer)
                . ($cookie === null ? '' : "\r\nSet-Cookie: SESSION=$cookie; Path=/; Secure")
                . ($ended ? "\r\nConnection: close" : '') . "\r\n\r\n$answer");
            stream_set_blocking($socket, false);
        }
        unset($connection);
        if ($ended) $close($id);
    }
    foreach ($open as $id => $connection) if ($connection['until'] < time()) $close($id);
}
