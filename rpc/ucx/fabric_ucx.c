/* libucx as a fabric: a context and a worker of UCP, active messages with a head. Eager or by rendezvous is UCP's choice by length (UCX_RNDV_THRESH).
 * The only file that knows UCP; a shared object of its own, see fabric.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

#include "rpc/ucx/fabric.h"

#define AM_ID	 1u
#define HEAD_MAX 64u

struct fabric {
	struct fabric_user user;
	ucp_context_h context;
	ucp_worker_h worker;
};

struct fabric_ep {
	struct fabric *f;
	ucp_ep_h ep;
	void *peer;
};

extern const struct fabric_ops lego_fabric;

static ucs_status_t came(void *arg, const void *head, size_t head_len, void *data, size_t len, const ucp_am_recv_param_t *param)
{
	struct fabric *f = arg;
	struct fabric_data d = {
	    .data = data,
	    .len = (u32)len,
	    .keeps = param->recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA,
	    .far = param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV,
	};

	if (len > UINT32_MAX || head_len > HEAD_MAX)
		return UCS_OK;
	return f->user.came(f->user.arg, head, (u32)head_len, &d) ? UCS_INPROGRESS : UCS_OK;
}

static ucs_status_t open_context(struct fabric *f)
{
	ucp_params_t params = {
	    .field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_REQUEST_SIZE,
	    .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
	    .request_size = sizeof(void *),
	};
	ucp_config_t *config;
	ucs_status_t rc = ucp_config_read(NULL, NULL, &config);

	if (rc != UCS_OK)
		return rc;
	rc = ucp_init(&params, config, &f->context);
	ucp_config_release(config);
	return rc;
}

static ucs_status_t open_worker(struct fabric *f)
{
	/* made by one thread and used by another, never by two at once */
	ucp_worker_params_t params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE, .thread_mode = UCS_THREAD_MODE_SERIALIZED};
	ucp_am_handler_param_t am = {
	    .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
	    .id = AM_ID,
	    .flags = UCP_AM_FLAG_WHOLE_MSG,
	    .cb = came,
	    .arg = f,
	};
	ucs_status_t rc = ucp_worker_create(f->context, &params, &f->worker);

	return rc == UCS_OK ? ucp_worker_set_am_recv_handler(f->worker, &am) : rc;
}

static void close_fabric(struct fabric *f)
{
	if (f->worker)
		ucp_worker_destroy(f->worker);
	if (f->context)
		ucp_cleanup(f->context);
	free(f);
}

static struct fabric *open_fabric(const struct fabric_user *user, char *err, size_t err_len)
{
	struct fabric *f = calloc(1, sizeof(*f));

	if (!f) {
		snprintf(err, err_len, "out of memory");
		return NULL;
	}
	f->user = *user;
	ucs_status_t rc = open_context(f);

	if (rc == UCS_OK)
		rc = open_worker(f);
	if (rc == UCS_OK)
		return f;
	snprintf(err, err_len, "UCX does not start: %s (UCX_TLS and UCX_NET_DEVICES say what it may use; ucx_info -d shows what there is)", ucs_status_string(rc));
	close_fabric(f);
	return NULL;
}

static u32 address(struct fabric *f, void *to, u32 room)
{
	ucp_address_t *a;
	size_t len;

	if (ucp_worker_get_address(f->worker, &a, &len) != UCS_OK)
		return 0;
	if (len <= room)
		memcpy(to, a, len);
	ucp_worker_release_address(f->worker, a);
	return len <= room ? (u32)len : 0;
}

static int efd(struct fabric *f)
{
	int fd;

	return ucp_worker_get_efd(f->worker, &fd) == UCS_OK ? fd : -1;
}

static bool arm(struct fabric *f)
{
	return ucp_worker_arm(f->worker) == UCS_OK;
}

static u32 progress(struct fabric *f)
{
	return ucp_worker_progress(f->worker);
}

static void broken(void *arg, ucp_ep_h ep, ucs_status_t status)
{
	struct fabric_ep *e = arg;

	e->f->user.broken(e->f->user.arg, e->peer);
}

static struct fabric_ep *connect_to(struct fabric *f, const void *addr, u32 len, void *peer, char *err, size_t err_len)
{
	struct fabric_ep *e = calloc(1, sizeof(*e));
	ucp_ep_params_t params = {
	    .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER,
	    .address = addr,
	    .err_mode = UCP_ERR_HANDLING_MODE_PEER,
	    .err_handler = {.cb = broken, .arg = e},
	};

	if (!e) {
		snprintf(err, err_len, "out of memory");
		return NULL;
	}
	e->f = f;
	e->peer = peer;
	ucs_status_t rc = ucp_ep_create(f->worker, &params, &e->ep);

	if (rc == UCS_OK)
		return e;
	snprintf(err, err_len, "UCX finds no way: %s (both ends need a transport in common: UCX_TLS, UCX_NET_DEVICES)", ucs_status_string(rc));
	free(e);
	return NULL;
}

static void disconnect(struct fabric *f, struct fabric_ep *e)
{
	ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = UCP_EP_CLOSE_FLAG_FORCE};
	ucs_status_ptr_t req = ucp_ep_close_nbx(e->ep, &param);

	if (UCS_PTR_IS_PTR(req))
		ucp_request_free(req);
	free(e);
}

/* A request of UCP has room for what it is about; the fabric comes as the callback's argument. It is called by progress, so after the room is filled. */
static void sent(void *req, ucs_status_t status, void *arg)
{
	struct fabric *f = arg;
	void *what = *(void **)req;

	ucp_request_free(req);
	f->user.sent(f->user.arg, what);
}

static void fetched(void *req, ucs_status_t status, size_t len, void *arg)
{
	struct fabric *f = arg;
	void *what = *(void **)req;

	ucp_request_free(req);
	f->user.fetched(f->user.arg, what, status == UCS_OK);
}

static int pending(ucs_status_ptr_t req, void *what)
{
	if (!req)
		return 0;
	if (UCS_PTR_IS_ERR(req))
		return -EIO;
	*(void **)req = what;
	return 1;
}

static int send_to(struct fabric *f, struct fabric_ep *e, const void *head, u32 head_len, const void *data, u32 len, void *what)
{
	ucp_request_param_t param = {
	    .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
	    .cb.send = sent,
	    .user_data = f,
	};

	return pending(ucp_am_send_nbx(e->ep, AM_ID, head, head_len, data, len, &param), what);
}

static int fetch(struct fabric *f, const struct fabric_data *d, void *to, void *what)
{
	ucp_request_param_t param = {
	    .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
	    .cb.recv_am = fetched,
	    .user_data = f,
	};

	return pending(ucp_am_recv_data_nbx(f->worker, d->data, to, d->len, &param), what);
}

static void release(struct fabric *f, void *data)
{
	ucp_am_data_release(f->worker, data);
}

__attribute__((visibility("default"))) const struct fabric_ops lego_fabric = {
    .version = FABRIC_VERSION,
    .head_max = HEAD_MAX,
    .open = open_fabric,
    .close = close_fabric,
    .address = address,
    .efd = efd,
    .arm = arm,
    .progress = progress,
    .connect = connect_to,
    .disconnect = disconnect,
    .send = send_to,
    .fetch = fetch,
    .release = release,
};
