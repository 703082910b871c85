/*
 * datagrams.c - prints what is sent to a unix datagram socket, a line for each:
 * what systemd is for $NOTIFY_SOCKET.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char text[4096];
	ssize_t n;
	int fd;

	if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path)
		return 1;
	memcpy(address.sun_path, argv[1], strlen(argv[1]));
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd == -1 ||
	    bind(fd, (struct sockaddr *)&address, sizeof address) == -1)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("bound");
	while ((n = recv(fd, text, sizeof text - 1, 0)) > 0) {
		text[n] = '\0';
		puts(text);
	}
	return 1;
}
