# Arrays, strings, regular expressions, files, a generator, processes; then the built-in server asked by a client of its own.
# packages: php-cli
# excache: 8M
. "$(dirname "$0")/lib.sh"
cat >work.php <<'PHP'
<?php
mt_srand(5);
$a = [];
for ($i = 0; $i < 200000; $i++)
	$a[] = mt_rand();
sort($a);
echo md5(implode(",", $a)), "\n";
$words = [];
foreach (explode(" ", str_repeat("the quick brown fox jumps over the lazy dog ", 4000)) as $w)
	if ($w !== "")
		$words[$w] = ($words[$w] ?? 0) + 1;
ksort($words);
echo json_encode($words), "\n";
echo preg_match_all('/\d+7/', implode(" ", array_slice($a, 0, 20000))), "\n";
function squares($n) { for ($i = 1; $i <= $n; $i++) yield $i * $i; }
echo array_sum(iterator_to_array(squares(1000))), "\n";
file_put_contents("f", serialize($a));
echo count(unserialize(file_get_contents("f"))), " ", filesize("f") > 0 ? "kept" : "lost", "\n";
$p = proc_open(["tr", "a-z", "A-Z"], [["pipe", "r"], ["pipe", "w"]], $pipes);
fwrite($pipes[0], "spoken to\n");
fclose($pipes[0]);
echo stream_get_contents($pipes[1]), proc_close($p), "\n";
PHP
php -d memory_limit=512M work.php
echo '<?php header("X-A: b"); echo "hello ", $_GET["x"] * 2, " ", $_SERVER["REQUEST_METHOD"];' >index.php
port=$(free_port)
php -S 127.0.0.1:$port >server.log 2>&1 &
server=$!
wait_port $port
for i in 1 2 3 21; do
	php -r 'echo file_get_contents($argv[1]), "\n";' "http://127.0.0.1:$port/?x=$i"
done
kill $server
wait $server
echo "ended $?"
