<?php
// Lock packages of PHP. Requests are lines of JSON: see tests/src/foreign_client/process.rs.
// The packages are those of the distribution; the server is in libpq's variables.

use Symfony\Component\Lock\Exception\LockConflictedException;
use Symfony\Component\Lock\Key;
use Symfony\Component\Lock\Store\PostgreSqlStore;

function connect(): PDO
{
    // Without a host, libpq takes its variables.
    return new PDO('pgsql:dbname=' . getenv('PGDATABASE'), null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
}

/** The distribution's package and its version, without the revision. */
function versioned(string $package): string
{
    $version = shell_exec("dpkg-query -W -f '\${Version}' '$package' 2>/dev/null");
    return trim($package . ' ' . preg_replace('/[-+~].*/', '', (string) $version));
}

final class SymfonyLock
{
    public string $package = 'php-symfony-lock';
    private PostgreSqlStore $store;
    private array $held = [];

    public function __construct()
    {
        require 'Symfony/Component/Lock/autoload.php';
        $this->store = new PostgreSqlStore(connect());
    }

    public function try(string $name): bool
    {
        $key = new Key($name);
        try {
            $this->store->save($key);
        } catch (LockConflictedException $e) {
            return false;
        }
        $this->held["=$name"] = $key;
        return true;
    }

    public function free(string $name): void
    {
        $this->store->delete($this->held["=$name"]);
    }

    public function key(string $name): string
    {
        $hash = new ReflectionMethod($this->store, 'getHashedKey');
        $hash->setAccessible(true);
        return (string) $hash->invoke($this->store, new Key($name));
    }
}

final class PhpLock
{
    public string $package = 'php-malkusch-lock';
    private PDO $pdo;

    public function __construct()
    {
        require 'Malkusch/Lock/autoload.php';
        $this->pdo = connect();
        // It only waits; so not to wait is to be told at once.
        $this->pdo->exec("SET lock_timeout = '10ms'");
    }

    private function mutex(string $name): object
    {
        $class = class_exists('Malkusch\Lock\Mutex\PostgreSQLMutex')
            ? 'Malkusch\Lock\Mutex\PostgreSQLMutex'
            : 'malkusch\lock\mutex\PgAdvisoryLockMutex';
        return new $class($this->pdo, $name);
    }

    private function call(object $mutex, string $method): void
    {
        $method = new ReflectionMethod($mutex, $method);
        $method->setAccessible(true);
        $method->invoke($mutex);
    }

    public function try(string $name): bool
    {
        try {
            $this->call($this->mutex($name), 'lock');
        } catch (PDOException $e) {
            if ($e->getCode() !== '55P03') {
                throw $e;
            }
            return false;
        }
        return true;
    }

    public function free(string $name): void
    {
        $this->call($this->mutex($name), 'unlock');
    }

    public function key(string $name): string
    {
        $mutex = $this->mutex($name);
        $field = function (string $field) use ($mutex) {
            $property = new ReflectionProperty($mutex, $field);
            $property->setAccessible(true);
            return $property->getValue($mutex);
        };
        return implode(',', property_exists($mutex, 'key') ? $field('key') : [$field('key1'), $field('key2')]);
    }
}

/** The rule of php-lock 3, as in its src/Mutex/PostgreSQLMutex.php; the distribution has version 2. */
final class PhpLock3
{
    public string $package = 'its rule by PHP';
    private PDO $pdo;

    public function __construct()
    {
        $this->pdo = connect();
    }

    private function call(string $function, string $name): bool
    {
        return $this->pdo->query("SELECT $function(" . $this->key($name) . ')')->fetchColumn();
    }

    public function try(string $name): bool
    {
        return $this->call('pg_try_advisory_lock', $name);
    }

    public function free(string $name): void
    {
        $this->call('pg_advisory_unlock', $name);
    }

    public function key(string $name): string
    {
        $halves = str_split(md5("php-malkusch-lock:$name", true), 4);
        $signed = function (string $bytes): int {
            $parts = unpack('va/Cb/cc', $bytes);
            return $parts['a'] | ($parts['b'] << 16) | ($parts['c'] << 24);
        };
        return $signed($halves[0]) . ',' . $signed($halves[1]);
    }
}

function answer(object $original, array $request): array
{
    switch ($request['do']) {
        case 'try':
            return ['held' => $original->try($request['name'])];
        case 'free':
            $original->free($request['name']);
            return ['free' => true];
        default:
            return ['keys' => array_map([$original, 'key'], $request['names'])];
    }
}

function write(array $answer): void
{
    fwrite(STDOUT, json_encode($answer) . "\n");
}

$original = new $argv[1]();
write(['package' => versioned($original->package), 'runtime' => 'PHP ' . PHP_VERSION]);
while (($line = fgets(STDIN)) !== false) {
    try {
        write(answer($original, json_decode($line, true)));
    } catch (Throwable $e) {
        write(['error' => get_class($e) . ': ' . $e->getMessage()]);
    }
}
