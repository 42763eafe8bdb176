# Sourced by the scripts here: ports, waiting for servers, ending what was started.
export LANG=C LC_ALL=C HOME=$PWD
TOP_PROGRAMS=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

free_port() { /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# wait_port PORT: until somebody listens there (20 s).
wait_port() {
	local i
	for i in $(seq 200); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
		sleep 0.1
	done
	echo "nobody listens"
	return 1
}
