/* Sockets: pairs, unix, TCP and UDP over loopback, options, passing fds. */
#include "t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static void pair(void)
{
	int s[2];
	char b[64] = {0};
	R(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	R(write(s[0], "hello", 5));
	R(read(s[1], b, sizeof(b)));
	say("[%s]\n", b);
	R(send(s[1], "back", 4, MSG_NOSIGNAL));
	R(recv(s[0], b, 2, MSG_PEEK));
	R(recv(s[0], b, sizeof(b), 0));
	R(recv(s[0], b, sizeof(b), MSG_DONTWAIT));
	R(shutdown(s[0], SHUT_WR));
	R(read(s[1], b, 1));
	R(close(s[1]));
	R(send(s[0], "x", 1, MSG_NOSIGNAL));
	signal(SIGPIPE, SIG_IGN);
	R(write(s[0], "x", 1));
	R(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	R(send(s[0], "one", 3, 0));
	R(send(s[0], "two two", 7, 0));
	R(recv(s[1], b, sizeof(b), 0));
	R(recv(s[1], b, 3, 0));
	R(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	R(send(s[0], "d", 1, 0));
	R(recv(s[1], b, sizeof(b), MSG_TRUNC));
	R(socketpair(AF_INET, SOCK_STREAM, 0, s));
	R(socket(AF_UNIX, 77, 0));
	R(socket(12345, SOCK_STREAM, 0));
	R(send(0, "x", 1, 0));
}

static void messages(void)
{
	int s[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct iovec v[2] = {{(char *)"abc", 3}, {(char *)"defg", 4}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	R(sendmsg(s[0], &m, 0));
	char a[4] = {0}, b[16] = {0};
	struct iovec w[2] = {{a, 2}, {b, 15}};
	struct msghdr r = {.msg_iov = w, .msg_iovlen = 2};
	R(recvmsg(s[1], &r, 0));
	say("[%s][%s] flags %d\n", a, b, r.msg_flags);
	R(recvmsg(s[1], &r, MSG_DONTWAIT));
	struct mmsghdr mm[2] = {{.msg_hdr = m}, {.msg_hdr = m}};
	R(sendmmsg(s[0], mm, 2, 0));
	R(mm[1].msg_len);
	char big[100];
	R(recv(s[1], big, sizeof(big), 0));
	/* large blocks through fresh memory, both ways */
	size_t len = 1 << 20;
	char *out = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(out, 'q', len);
	pid_t c = fork();
	if (!c) {
		size_t done = 0;
		while (done < len) {
			ssize_t n = send(s[0], out + done, len - done, 0);
			if (n <= 0)
				_exit(1);
			done += (size_t)n;
		}
		_exit(0);
	}
	char *in = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	R(recv(s[1], in, len, MSG_WAITALL));
	OK(!memcmp(in, out, len));
	t_wait("sender", c);
}

static void unix_(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"}, got;
	socklen_t len = sizeof(got);
	int l = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	R(bind(l, (struct sockaddr *)&a, sizeof(a)));
	R(bind(l, (struct sockaddr *)&a, sizeof(a)));
	R(listen(l, 5));
	struct stat st;
	R(stat("sock", &st));
	OK(S_ISSOCK(st.st_mode));
	pid_t c = fork();
	if (!c) {
		int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
		MUST(connect(s, (struct sockaddr *)&a, sizeof(a)));
		if (write(s, "from the child", 14) != 14)
			_exit(1);
		char b[32] = {0};
		_exit(read(s, b, sizeof(b)) == 2 ? 0 : 2);
	}
	int s = MUST(accept4(l, (struct sockaddr *)&got, &len, SOCK_CLOEXEC));
	R(len);
	char b[32] = {0};
	ssize_t n = read(s, b, sizeof(b));
	t_sleep_ms(50);
	say("%zd [%s]\n", n, b);
	struct ucred cred;
	len = sizeof(cred);
	R(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cred, &len));
	OK(cred.pid == getpid() || cred.pid == c);
	if (write(s, "ok", 2) != 2)
		say("write failed\n");
	t_wait("client", c);
	R(read(s, b, 1));
	len = sizeof(got);
	R(getsockname(l, (struct sockaddr *)&got, &len));
	say("%s\n", got.sun_path);
	R(unlink("sock"));
	int d = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	R(connect(d, (struct sockaddr *)&a, sizeof(a)));
	t_put("plain", "");
	strcpy(a.sun_path, "plain");
	R(connect(d, (struct sockaddr *)&a, sizeof(a)));
	memcpy(a.sun_path, "\0lego-test-abstract", 19);
	R(bind(d, (struct sockaddr *)&a, sizeof(sa_family_t) + 19));
}

static void *serve(void *arg)
{
	int l = (int)(long)arg;
	for (int i = 0; i < 3; i++) {
		int s = accept(l, NULL, NULL);
		char b[4096];
		ssize_t n;
		while ((n = read(s, b, sizeof(b))) > 0)
			if (write(s, b, (size_t)n) != n)
				break;
		close(s);
	}
	return NULL;
}

static void tcp(void)
{
	int l = MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
	R(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	R(bind(l, (struct sockaddr *)&a, sizeof(a)));
	R(listen(l, 10));
	socklen_t len = sizeof(a);
	R(getsockname(l, (struct sockaddr *)&a, &len));
	OK(a.sin_port != 0);
	pthread_t t;
	pthread_create(&t, NULL, serve, (void *)(long)l);
	for (int k = 0; k < 3; k++) {
		int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
		R(connect(s, (struct sockaddr *)&a, sizeof(a)));
		R(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		int got = 0;
		len = sizeof(got);
		R(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &got, &len));
		OK(got);
		struct sockaddr_in peer;
		len = sizeof(peer);
		R(getpeername(s, (struct sockaddr *)&peer, &len));
		OK(peer.sin_port == a.sin_port);
		char out[3000], in[3000];
		int bad = 0;
		for (int i = 0; i < 50; i++) {
			memset(out, i, sizeof(out));
			if (write(s, out, sizeof(out)) != sizeof(out))
				bad++;
			if (recv(s, in, sizeof(in), MSG_WAITALL) != sizeof(in) || memcmp(in, out, sizeof(in)))
				bad++;
		}
		R(bad);
		R(shutdown(s, SHUT_WR));
		R(read(s, in, 1));
		close(s);
	}
	pthread_join(t, NULL);
	close(l);
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	R(connect(s, (struct sockaddr *)&a, sizeof(a)));
	R(getpeername(s, (struct sockaddr *)&a, &len));
	R(listen(-1, 1));
	R(fcntl(s, F_SETFL, O_NONBLOCK));
	R(accept(s, NULL, NULL));
}

static void udp(void)
{
	int a = MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, from;
	R(bind(a, (struct sockaddr *)&at, sizeof(at)));
	socklen_t len = sizeof(at);
	getsockname(a, (struct sockaddr *)&at, &len);
	R(sendto(b, "datagram", 8, 0, (struct sockaddr *)&at, sizeof(at)));
	char buf[32] = {0};
	len = sizeof(from);
	R(recvfrom(a, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len));
	say("[%s] family %d len %u\n", buf, from.sin_family, len);
	struct timeval tv = {0, 20000};
	R(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	R(recv(a, buf, sizeof(buf), 0));
}

static void pass_fds(void)
{
	int s[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	t_put("f", "passed file");
	pid_t c = fork();
	if (!c) {
		int fd = MUST(open("f", O_RDWR)), p[2];
		MUST(pipe(p));
		lseek(fd, 7, SEEK_SET);
		if (write(p[1], "in the pipe", 11) != 11)
			_exit(1);
		union {
			char b[CMSG_SPACE(2 * sizeof(int))];
			struct cmsghdr h;
		} u = {{0}};
		struct iovec v = {(char *)"x", 1};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof(u.b)};
		u.h.cmsg_level = SOL_SOCKET;
		u.h.cmsg_type = SCM_RIGHTS;
		u.h.cmsg_len = CMSG_LEN(2 * sizeof(int));
		int fds[2] = {fd, p[0]};
		memcpy(CMSG_DATA(&u.h), fds, sizeof(fds));
		R(sendmsg(s[0], &m, 0));
		char go;
		if (read(s[0], &go, 1) != 1)
			_exit(2);
		say("offset seen by the sender %ld\n", (long)lseek(fd, 0, SEEK_CUR));
		_exit(0);
	}
	char x, ctl[256];
	struct iovec v = {&x, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	t_sleep_ms(50);
	R(recvmsg(s[1], &m, MSG_CMSG_CLOEXEC));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	OK(h && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(8));
	int fds[2];
	memcpy(fds, CMSG_DATA(h), sizeof(fds));
	char b[32] = {0};
	R(read(fds[0], b, sizeof(b)));
	say("[%s]\n", b);
	R(read(fds[1], b, sizeof(b)));
	say("[%s]\n", b);
	R(fcntl(fds[0], F_GETFD));
	R(fcntl(fds[0], F_GETFL) & O_ACCMODE);
	if (write(s[1], "g", 1) != 1)
		say("write failed\n");
	t_wait("sender", c);
}

static const struct t_case cases[] = {
	{"pair", pair}, {"messages", messages}, {"unix", unix_}, {"tcp", tcp}, {"udp", udp}, {"pass_fds", pass_fds}, {NULL, NULL},
};
T_MAIN(cases)
