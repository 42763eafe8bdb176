/* Ring memfds. A ring that its peer could truncate would kill us with SIGBUS: so the acceptor seals what it made, and the dialler
 * maps nothing that is not sealed. Not hugetlb: the seals of a plain memfd are all that is relied on. */
#include "rpc/shm/ring_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int map_fd(int fd, u64 len, struct ring_map *map)
{
	void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*map = (struct ring_map){base, len};
	return 0;
}

static int fill_fd(int fd, u32 bytes, struct ring_map *map)
{
	if (ftruncate(fd, (off_t)ring_total(bytes)) || fcntl(fd, F_ADD_SEALS, RING_SEALS))
		return -errno;
	int err = map_fd(fd, ring_total(bytes), map);

	if (!err)
		ring_format(map->base, bytes);
	return err;
}

int ring_fd_create(u32 bytes, struct ring_map *map)
{
	int fd = memfd_create("lego-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	int err = fill_fd(fd, bytes, map);

	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int ring_fd_map(int fd, u64 total_len, struct ring_map *map)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &st))
		return -errno;
	if (!(seals & F_SEAL_SHRINK) || (u64)st.st_size != total_len)
		return -EINVAL;
	return map_fd(fd, total_len, map);
}

void ring_map_drop(struct ring_map *map)
{
	if (map->base)
		munmap(map->base, map->len);
	*map = (struct ring_map){0};
}
