/* Hello from libc: built dynamic (hello) and static (hello_glibc). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	char *p = malloc(1 << 20);
	memset(p, 'x', 1 << 20);
	printf("hello, %d arguments, %s, %c\n", argc - 1, argc > 1 ? argv[1] : "none", p[123456]);
	free(p);
	return argc - 1;
}
