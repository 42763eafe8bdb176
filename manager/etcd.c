/* Requests are POSTs of JSON; keys and values are base64 in it, 64-bit numbers are text. libcurl is loaded when it is needed, so that only
 * a manager that uses etcd has it and what it brings along. An endpoint that does not answer is left for the next one. */
#include "manager/etcd.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDPOINTS  8u
#define REPLY_MAX  (256u * 1024 * 1024)
#define CONNECT_MS 400L
#define ANSWER_MS  1000L
#define LEADER	   "leader"
#define RECORDS	   "record/"

struct etcd {
	char *endpoint[ENDPOINTS]; /* HOST:PORT */
	u32 nendpoints;
	_Atomic u32 good; /* which answered last */
	char prefix[96];
};

static struct {
	CURL *(*init)(void);
	CURLcode (*setopt)(CURL *c, CURLoption o, ...);
	CURLcode (*perform)(CURL *c);
	CURLcode (*getinfo)(CURL *c, CURLINFO i, ...);
	void (*cleanup)(CURL *c);
	const char *(*error)(CURLcode code);
	struct curl_slist *(*append)(struct curl_slist *l, const char *text);
	void (*free_list)(struct curl_slist *l);
} curl;

/* ---- libcurl */

static bool load_curl(char *err, size_t err_len)
{
	CURLcode (*global)(long flags);
	void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	const struct {
		void *to;
		const char *name;
	} wanted[] = {{&global, "curl_global_init"},   {&curl.init, "curl_easy_init"},	    {&curl.setopt, "curl_easy_setopt"},
		      {&curl.perform, "curl_easy_perform"}, {&curl.getinfo, "curl_easy_getinfo"}, {&curl.cleanup, "curl_easy_cleanup"},
		      {&curl.error, "curl_easy_strerror"},  {&curl.append, "curl_slist_append"},  {&curl.free_list, "curl_slist_free_all"}};
	for (u32 i = 0; lib && i < ARRAY_SIZE(wanted); i++) {
		void *symbol = dlsym(lib, wanted[i].name);
		if (!symbol)
			lib = NULL;
		memcpy(wanted[i].to, &symbol, sizeof(symbol));
	}
	if (lib && !global(CURL_GLOBAL_ALL))
		return true;
	snprintf(err, err_len, "etcd needs libcurl.so.4 (Debian: libcurl4): %s", lib ? "it does not start" : dlerror());
	return false;
}

/* ---- where it is */

static bool add_endpoint(struct etcd *e, const char *text, size_t len)
{
	if (!len || e->nendpoints == ENDPOINTS || !memchr(text, ':', len))
		return false;
	e->endpoint[e->nendpoints] = strndup(text, len);
	return e->endpoint[e->nendpoints++];
}

static bool parse_url(struct etcd *e, const char *url)
{
	if (strncmp(url, "etcd://", 7))
		return false;
	const char *at = url + 7, *name = strchr(at, '/');
	size_t len = name ? (size_t)(name - at) : strlen(at);
	while (len) {
		size_t n = strcspn(at, ",/");
		if (!add_endpoint(e, at, n))
			return false;
		n += n < len;
		at += n;
		len -= n;
	}
	name = name && name[1] ? name + 1 : "default";
	return e->nendpoints && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == strlen(name) &&
	       snprintf(e->prefix, sizeof(e->prefix), "/lego/%s/", name) < (int)sizeof(e->prefix) - 64;
}

struct etcd *etcd_new(const char *url, char *err, size_t err_len)
{
	struct etcd *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	if (!parse_url(e, url))
		snprintf(err, err_len, "'%s' is no etcd://HOST:PORT[,HOST:PORT...][/NAME]", url);
	else if (load_curl(err, err_len))
		return e;
	etcd_free(e);
	return NULL;
}

void etcd_free(struct etcd *e)
{
	if (!e)
		return;
	for (u32 i = 0; i < e->nendpoints; i++)
		free(e->endpoint[i]);
	free(e);
}

/* ---- requests */

struct reply {
	char *text;
	size_t len;
};

static size_t more(char *data, size_t size, size_t n, void *arg)
{
	struct reply *r = arg;
	size_t len = size * n;
	char *grown = len > REPLY_MAX - r->len ? NULL : realloc(r->text, r->len + len + 1);
	if (!grown)
		return 0;
	r->text = grown;
	memcpy(grown + r->len, data, len);
	r->len += len;
	grown[r->len] = 0;
	return len;
}

/* One endpoint. The HTTP status, or 0 with the reason in err. */
static long post_to(const char *endpoint, const char *path, const char *body, struct reply *r, struct etcd_error *err)
{
	char url[512];
	long status = 0;
	CURL *c = curl.init();
	struct curl_slist *headers = curl.append(NULL, "Content-Type: application/json");
	snprintf(url, sizeof(url), "http://%s/v3/%s", endpoint, path);
	if (c) {
		curl.setopt(c, CURLOPT_URL, url);
		curl.setopt(c, CURLOPT_POSTFIELDS, body);
		curl.setopt(c, CURLOPT_HTTPHEADER, headers);
		curl.setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
		curl.setopt(c, CURLOPT_TIMEOUT_MS, ANSWER_MS);
		curl.setopt(c, CURLOPT_NOSIGNAL, 1L);
		curl.setopt(c, CURLOPT_NOPROXY, "*");
		curl.setopt(c, CURLOPT_WRITEFUNCTION, more);
		curl.setopt(c, CURLOPT_WRITEDATA, r);
		CURLcode rc = curl.perform(c);
		if (rc)
			snprintf(err->text, sizeof(err->text), "etcd at %s: %s", endpoint, curl.error(rc));
		else
			curl.getinfo(c, CURLINFO_RESPONSE_CODE, &status);
		curl.cleanup(c);
	}
	curl.free_list(headers);
	return status;
}

/* The answer, or NULL with the reason in err. *status: of HTTP; an endpoint that answers decides. Takes body. */
static json_t *post(struct etcd *e, const char *path, json_t *body, long *status, struct etcd_error *err)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_t *answer = NULL;
	u32 first = atomic_load(&e->good);
	*status = 0;
	json_decref(body);
	for (u32 i = 0; text && !answer && i < e->nendpoints; i++) {
		u32 at = (first + i) % e->nendpoints;
		struct reply r = {0};
		*status = post_to(e->endpoint[at], path, text, &r, err);
		if (*status)
			answer = json_loads(r.text ? r.text : "", JSON_DISABLE_EOF_CHECK, NULL);
		if (answer && *status != 200)
			snprintf(err->text, sizeof(err->text), "etcd at %s: HTTP status %ld: %.150s", e->endpoint[at], *status, r.text);
		if (*status >= 500) { /* it has no leader, or is being stopped */
			json_decref(answer);
			answer = NULL;
		}
		if (answer)
			atomic_store(&e->good, at);
		free(r.text);
	}
	free(text);
	return answer;
}

static u64 number(const json_t *o, const char *key)
{
	const json_t *n = json_object_get(o, key);
	return json_is_string(n) ? strtoull(json_string_value(n), NULL, 10) : (u64)json_integer_value(n);
}

static json_t *text_of(u64 n)
{
	char text[24];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	return json_string(text);
}

static json_t *coded(const char *text, size_t len)
{
	size_t room = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
	char *to = malloc(room);
	json_t *s = to ? json_string(sodium_bin2base64(to, room, (const unsigned char *)text, len, sodium_base64_VARIANT_ORIGINAL)) : NULL;
	free(to);
	return s;
}

/* malloced, with a 0 behind. NULL: malformed. */
static char *decoded(const json_t *s)
{
	const char *text = json_string_value(s);
	size_t len = text ? strlen(text) : 0, got = 0;
	char *to = malloc(len + 1);
	if (!to || sodium_base642bin((unsigned char *)to, len, text ? text : "", len, NULL, &got, NULL, sodium_base64_VARIANT_ORIGINAL)) {
		free(to);
		return NULL;
	}
	to[got] = 0;
	return to;
}

static json_t *coded_key(const struct etcd *e, const char *part, const char *rest)
{
	char key[512];
	int len = snprintf(key, sizeof(key), "%s%s%s", e->prefix, part, rest);
	return len < (int)sizeof(key) ? coded(key, (size_t)len) : NULL;
}

/* ---- leases */

enum etcd_result etcd_grant(struct etcd *e, u32 *ttl_ms, u64 *lease, struct etcd_error *err)
{
	long status;
	json_t *r = post(e, "lease/grant", json_pack("{s:o}", "TTL", text_of((*ttl_ms + 999) / 1000)), &status, err);
	*lease = r ? number(r, "ID") : 0;
	if (r && number(r, "TTL"))
		*ttl_ms = (u32)number(r, "TTL") * 1000;
	json_decref(r);
	return *lease ? ETCD_OK : ETCD_AWAY;
}

enum etcd_result etcd_keep(struct etcd *e, u64 lease, struct etcd_error *err)
{
	long status;
	json_t *r = post(e, "lease/keepalive", json_pack("{s:o}", "ID", text_of(lease)), &status, err);
	enum etcd_result rc = !r || status != 200 ? ETCD_AWAY : number(json_object_get(r, "result"), "TTL") ? ETCD_OK : ETCD_REFUSED;
	if (rc == ETCD_REFUSED)
		snprintf(err->text, sizeof(err->text), "the lease is over");
	json_decref(r);
	return rc;
}

enum etcd_result etcd_revoke(struct etcd *e, u64 lease, struct etcd_error *err)
{
	long status;
	json_t *r = post(e, "lease/revoke", json_pack("{s:o}", "ID", text_of(lease)), &status, err);
	json_decref(r);
	return status == 200 ? ETCD_OK : status ? ETCD_REFUSED : ETCD_AWAY;
}

/* ---- leading */

static enum etcd_result value_of(const json_t *answer, char *value, size_t room)
{
	const json_t *kv = json_array_get(json_object_get(answer, "kvs"), 0);
	char *text = kv ? decoded(json_object_get(kv, "value")) : NULL;
	snprintf(value, room, "%s", text ? text : "");
	free(text);
	return kv ? ETCD_OK : ETCD_REFUSED;
}

enum etcd_result etcd_leader(struct etcd *e, char *value, size_t room, struct etcd_error *err)
{
	long status;
	json_t *r = post(e, "kv/range", json_pack("{s:o}", "key", coded_key(e, LEADER, "")), &status, err);
	enum etcd_result rc = !r || status != 200 ? ETCD_AWAY : value_of(r, value, room);
	json_decref(r);
	return rc;
}

/* The leader's key was made at that revision (0: is not there). */
static json_t *when_leader_is(struct etcd *e, u64 revision)
{
	return json_pack("[{s:o, s:s, s:s, s:o}]", "key", coded_key(e, LEADER, ""), "target", "CREATE", "result", "EQUAL", "create_revision",
			 text_of(revision));
}

static enum etcd_result transact(struct etcd *e, u64 revision, json_t *ops, u64 *made_at, struct etcd_error *err)
{
	long status;
	json_t *r = post(e, "kv/txn", json_pack("{s:o, s:O}", "compare", when_leader_is(e, revision), "success", ops), &status, err);
	enum etcd_result rc = !r || status != 200 ? ETCD_AWAY : json_is_true(json_object_get(r, "succeeded")) ? ETCD_OK : ETCD_REFUSED;
	if (made_at)
		*made_at = r ? number(json_object_get(r, "header"), "revision") : 0;
	json_decref(r);
	return rc;
}

enum etcd_result etcd_lead(struct etcd *e, const char *value, u64 lease, u64 *revision, struct etcd_error *err)
{
	json_t *ops = json_pack("[{s:{s:o, s:o, s:o}}]", "request_put", "key", coded_key(e, LEADER, ""), "value", coded(value, strlen(value)), "lease",
				text_of(lease));
	enum etcd_result rc = transact(e, 0, ops, revision, err);
	json_decref(ops);
	return rc;
}

enum etcd_result etcd_commit(struct etcd *e, u64 revision, json_t *ops, struct etcd_error *err)
{
	enum etcd_result rc = transact(e, revision, ops, NULL, err);
	if (rc == ETCD_REFUSED)
		snprintf(err->text, sizeof(err->text), "another manager leads");
	return rc;
}

json_t *etcd_put(struct etcd *e, const char *key, const char *value)
{
	return json_pack("{s:{s:o, s:o}}", "request_put", "key", coded_key(e, RECORDS, key), "value", coded(value, strlen(value)));
}

json_t *etcd_delete(struct etcd *e, const char *key)
{
	return json_pack("{s:{s:o}}", "request_delete_range", "key", coded_key(e, RECORDS, key));
}

/* ---- records */

json_t *etcd_load(struct etcd *e, struct etcd_error *err)
{
	long status;
	size_t i, skip = strlen(e->prefix) + strlen(RECORDS);
	json_t *kv, *all = json_object(), *end = coded_key(e, "record0", ""); /* '0' comes after '/' */
	json_t *r = post(e, "kv/range", json_pack("{s:o, s:o}", "key", coded_key(e, RECORDS, ""), "range_end", end), &status, err);
	bool ok = r && status == 200;
	json_array_foreach(json_object_get(r, "kvs"), i, kv) {
		char *key = decoded(json_object_get(kv, "key")), *value = decoded(json_object_get(kv, "value"));
		ok = ok && key && value && strlen(key) > skip && !json_object_set_new(all, key + skip, json_string(value));
		free(key);
		free(value);
	}
	if (!ok && status == 200)
		snprintf(err->text, sizeof(err->text), "what etcd holds for %s is not a manager's", e->prefix);
	json_decref(r);
	if (ok)
		return all;
	json_decref(all);
	return NULL;
}
