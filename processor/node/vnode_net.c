/* rtnetlink, as much as a vNode's network needs. One socket a request: these are rare. */
#include "processor/node/vnode_net.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
	struct nlmsghdr head;
	u8 body[1024];
};

static void begin(struct request *r, u16 type, u16 flags, const void *fixed, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->head =
	    (struct nlmsghdr){.nlmsg_len = (u32)NLMSG_LENGTH(len), .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags};
	memcpy(NLMSG_DATA(&r->head), fixed, len);
}

/* Returns the attribute, for nest_end. All requests here are far below the room. */
static struct rtattr *attr(struct request *r, u16 type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(void *)((u8 *)r + NLMSG_ALIGN(r->head.nlmsg_len));
	a->rta_type = type;
	a->rta_len = (u16)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	r->head.nlmsg_len = (u32)(NLMSG_ALIGN(r->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
	return a;
}

static void nest_end(struct request *r, struct rtattr *a)
{
	a->rta_len = (u16)((u8 *)r + r->head.nlmsg_len - (u8 *)a);
}

static int ask(struct request *r)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		u8 rest[1024];
	} reply;
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), rc = -EPROTO;
	if (s < 0)
		return -errno;
	if (send(s, r, r->head.nlmsg_len, 0) < 0 || recv(s, &reply, sizeof(reply), 0) < (ssize_t)sizeof(reply.head))
		rc = -errno;
	else if (reply.head.nlmsg_type == NLMSG_ERROR)
		rc = reply.err.error;
	close(s);
	return rc;
}

static void text(struct request *r, u16 type, const char *s)
{
	attr(r, type, s, strlen(s) + 1);
}

static int link_up(const char *name)
{
	struct request r;
	struct ifinfomsg i = {.ifi_index = (int)if_nametoindex(name), .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	if (!i.ifi_index)
		return -ENODEV;
	begin(&r, RTM_NEWLINK, 0, &i, sizeof(i));
	return ask(&r);
}

static int bridge_add(const char *name)
{
	struct request r;
	struct ifinfomsg i = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &i, sizeof(i));
	text(&r, IFLA_IFNAME, name);
	struct rtattr *info = attr(&r, IFLA_LINKINFO, NULL, 0);
	text(&r, IFLA_INFO_KIND, "bridge");
	nest_end(&r, info);
	int rc = ask(&r);
	return rc == -EEXIST ? 0 : rc;
}

int vnode_net_join(const char *bridge, bool make, pid_t pid)
{
	struct request r;
	char name[IFNAMSIZ];
	struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, peer = {0};
	u32 netns = (u32)pid;
	int rc = make ? bridge_add(bridge) : 0;
	u32 master = if_nametoindex(bridge);
	if (rc || !master)
		return rc ? rc : -ENODEV;
	snprintf(name, sizeof(name), "lego%d", pid); /* a host's pid is nobody else's */
	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof(up));
	text(&r, IFLA_IFNAME, name);
	attr(&r, IFLA_MASTER, &master, sizeof(master));
	struct rtattr *info = attr(&r, IFLA_LINKINFO, NULL, 0);
	text(&r, IFLA_INFO_KIND, "veth");
	struct rtattr *data = attr(&r, IFLA_INFO_DATA, NULL, 0);
	struct rtattr *other = attr(&r, VETH_INFO_PEER, &peer, sizeof(peer));
	text(&r, IFLA_IFNAME, "eth0");
	attr(&r, IFLA_NET_NS_PID, &netns, sizeof(netns));
	nest_end(&r, other);
	nest_end(&r, data);
	nest_end(&r, info);
	return ask(&r);
}

static int address_add(u32 ip)
{
	struct request r;
	struct ifaddrmsg a = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = if_nametoindex("eth0")};
	u32 wire = htonl(ip);
	begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &a, sizeof(a));
	attr(&r, IFA_LOCAL, &wire, sizeof(wire));
	attr(&r, IFA_ADDRESS, &wire, sizeof(wire));
	return ask(&r);
}

static int route_add(void)
{
	struct request r;
	struct rtmsg m = {.rtm_family = AF_INET,
			  .rtm_table = RT_TABLE_MAIN,
			  .rtm_protocol = RTPROT_BOOT,
			  .rtm_scope = RT_SCOPE_LINK,
			  .rtm_type = RTN_UNICAST};
	u32 out = if_nametoindex("eth0");
	begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	attr(&r, RTA_OIF, &out, sizeof(out));
	return ask(&r);
}

int vnode_net_inside(u32 ip)
{
	int rc = link_up("lo");
	if (!rc)
		rc = link_up("eth0");
	if (!rc)
		rc = address_add(ip);
	return rc ? rc : route_add();
}

int vnode_net_drop(const char *bridge)
{
	char path[64];
	struct request r;
	struct ifinfomsg i = {.ifi_index = (int)if_nametoindex(bridge)};
	u32 n = 0;
	if (!i.ifi_index)
		return -ENODEV;
	snprintf(path, sizeof(path), "/sys/class/net/%s/brif", bridge);
	DIR *ports = opendir(path);
	for (const struct dirent *e; ports && (e = readdir(ports));)
		n += e->d_name[0] != '.';
	if (ports)
		closedir(ports);
	if (n)
		return -EBUSY;
	begin(&r, RTM_DELLINK, 0, &i, sizeof(i));
	return ask(&r);
}
