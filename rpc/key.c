/* The cluster key's file. A new key is written under a temporary name and linked into place, so no reader sees half a key. */
#include "rpc/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(char *err, size_t err_len, const char *path, const char *what, int error)
{
	snprintf(err, err_len, "cluster key %s: %s%s%s", path, what, error ? ": " : "", error ? strerror(error) : "");
	return error ? -error : -EINVAL;
}

static int read_open(int fd, const char *path, u8 key[CLUSTER_KEY_LEN], char *err, size_t err_len)
{
	struct stat st;
	u8 extra;

	if (fstat(fd, &st))
		return fail(err, err_len, path, "cannot stat", errno);
	if (st.st_mode & 077)
		return fail(err, err_len, path, "other users can read it; run chmod 600 on it", 0);
	if (read(fd, key, CLUSTER_KEY_LEN) != CLUSTER_KEY_LEN || read(fd, &extra, 1) != 0)
		return fail(err, err_len, path, "not 32 bytes long; remove it to have a new one made", 0);
	return 0;
}

int key_file_read(const char *path, u8 key[CLUSTER_KEY_LEN], char *err, size_t err_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return fail(err, err_len, path, "cannot open", errno);
	int rc = read_open(fd, path, key, err, err_len);

	close(fd);
	return rc;
}

static int write_key(const char *tmp)
{
	u8 key[CLUSTER_KEY_LEN];
	int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (getrandom(key, sizeof(key), 0) != sizeof(key) || write(fd, key, sizeof(key)) != sizeof(key) || fsync(fd))
		rc = errno ? -errno : -EIO;
	close(fd);
	return rc;
}

int key_file_ensure(const char *path, u8 key[CLUSTER_KEY_LEN], char *err, size_t err_len)
{
	char tmp[2048];
	int rc;

	if (!access(path, F_OK))
		return key_file_read(path, key, err, err_len);
	if (snprintf(tmp, sizeof(tmp), "%s.%d", path, (int)getpid()) >= (int)sizeof(tmp))
		return fail(err, err_len, path, "path too long", 0);
	rc = write_key(tmp);
	if (!rc && link(tmp, path) && errno != EEXIST)
		rc = -errno;
	unlink(tmp);
	if (rc)
		return fail(err, err_len, path, "cannot make it", -rc);
	return key_file_read(path, key, err, err_len);
}
