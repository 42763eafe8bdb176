# A master and two workers under 64 connections; what came back is compared, then the configuration is loaded again under load, then a graceful end.
# packages: nginx-light apache2-utils
# excache: 4M
. "$(dirname "$0")/lib.sh"
mkdir -p www tmp
head -c 200000 /dev/zero | tr '\0' 'a' >www/big
echo small >www/index.html
port=$(free_port)
cat >nginx.conf <<CONF
worker_processes 2; daemon off; master_process on; pid $PWD/pid; error_log $PWD/error.log;
events { worker_connections 512; }
http {
	access_log $PWD/access.log; sendfile on;
	client_body_temp_path tmp/1; proxy_temp_path tmp/2; fastcgi_temp_path tmp/3; uwsgi_temp_path tmp/4; scgi_temp_path tmp/5;
	server { listen 127.0.0.1:$port; root $PWD/www; location /gone { return 410; } }
}
CONF
nginx -p "$PWD" -c "$PWD/nginx.conf" -g 'user root;' 2>nginx.err &
server=$!
wait_port $port
load() { ab -q -n "$1" -c 64 "http://127.0.0.1:$port/$2" 2>&1 | grep -E '^(Complete requests|Failed requests|Non-2xx|Document Length)'; }
load 3000 index.html
load 300 big
load 200 gone
load 2000 index.html >during &
loader=$!
kill -HUP "$(cat pid)"
wait $loader
cat during
/usr/bin/python3 -c 'import urllib.request, hashlib, sys; print(hashlib.md5(urllib.request.urlopen(sys.argv[1]).read()).hexdigest())' "http://127.0.0.1:$port/big"
kill -QUIT "$(cat pid)"
wait $server
echo "ended $?"
wc -l <access.log
grep -cE 'emerg|alert|crit' error.log
