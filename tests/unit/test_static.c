/*
 * static.c: files that are given out, and all the ways to those that are not.
 */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <check.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "tests/unit/unit.h"
#include "transport/static.h"

#define COUNT(a) (sizeof a / sizeof a[0])

static char base[] = "/tmp/bennu-static-XXXXXX";
static int root = -1; /* base/root is served */

static const char *const directories[] = { "root", "root/sub", "root/sub/deep",
	"root/assets", "root/.git" };

static const struct {
	const char *name, *content;
} files[] = {
	{ "secret.txt", "secret" },
	{ "root/index.html", "<p>index" },
	{ "root/app.js", "app();" },
	{ "root/module.mjs", "m" },
	{ "root/style.css", "p{}" },
	{ "root/UPPER.PNG", "png" },
	{ "root/a.svg", "svg" },
	{ "root/favicon.ico", "ico" },
	{ "root/a.webmanifest", "{}" },
	{ "root/a.wasm", "\x7f" },
	{ "root/a.woff2", "w" },
	{ "root/a.tar", "tar" },
	{ "root/noending", "?" },
	{ "root/html", "not by name alone" },
	{ "root/with space+\xc3\xa9.txt", "space" },
	{ "root/empty.txt", "" },
	{ "root/.hidden", "hidden" },
	{ "root/.git/config", "hidden" },
	{ "root/sub/index.html", "<p>sub" },
	{ "root/sub/deep/a.json", "{}" },
	{ "root/sub/..a", "dots" },
	{ "root/assets/index-abc.js", "asset" },
	{ "root/assets/index-abc.js.map", "map" },
	{ "root/assets/page.html", "page" },
};

static const struct {
	const char *name, *to;
} links[] = {
	{ "root/link.js", "app.js" },
	{ "root/sub/up.js", "../app.js" },
	{ "root/linked", "sub" },
	{ "root/out.txt", "../secret.txt" },
	{ "root/out", ".." },
	{ "root/absolute", "/" },
	{ "root/loop", "loop" },
	{ "root/dangling", "nothing" },
};

static void
put_file(const char *name, const char *content)
{
	FILE *file = fopen(name, "w");

	if (file == NULL || fputs(content, file) == EOF || fclose(file) != 0)
		err(1, "%s", name);
}

static void
make_tree(void)
{
	if (mkdtemp(base) == NULL || chdir(base) == -1)
		err(1, "%s", base);
	for (size_t i = 0; i < COUNT(directories); i++) {
		if (mkdir(directories[i], 0755) == -1)
			err(1, "%s", directories[i]);
	}
	for (size_t i = 0; i < COUNT(files); i++)
		put_file(files[i].name, files[i].content);
	for (size_t i = 0; i < COUNT(links); i++) {
		if (symlink(links[i].to, links[i].name) == -1)
			err(1, "%s", links[i].name);
	}
	if (mkfifo("root/fifo", 0644) == -1)
		err(1, "fifo");
	root = open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root == -1)
		err(1, "root");
}

static int
remove_entry(
    const char *name, const struct stat *st, int type, struct FTW *where)
{
	return remove(name);
}

static int
respond(const struct http_request *request, struct json_buffer *head,
    struct static_file *file)
{
	*head = (struct json_buffer){ 0 };
	return static_respond(root, request, head, file);
}

static struct http_request
get(const char *path)
{
	return (struct http_request){ .method = "GET",
		.path = path,
		.query = "",
		.minor = 1,
		.keep_alive = true };
}

static bool
has_line(const struct json_buffer *head, const char *line)
{
	char *with_ends = xasprintf("\r\n%s\r\n", line);
	bool found = strstr(head->data, with_ends) != NULL;

	free(with_ends);
	return found;
}

/* Also checks that the head fits the file. */
static void
assert_found(const char *path, const char *content)
{
	struct http_request request = get(path);
	struct json_buffer head;
	struct static_file file;
	char buf[64], length[64];
	ssize_t n;

	ck_assert_msg(
	    respond(&request, &head, &file) == 200, "%s was not found", path);
	ck_assert_int_ne(file.fd, -1);
	ck_assert_int_eq(file.size, strlen(content));
	n = read(file.fd, buf, sizeof buf);
	ck_assert_int_eq(n, file.size);
	ck_assert_mem_eq(buf, content, n);
	ck_assert_int_ne(fcntl(file.fd, F_GETFD) & FD_CLOEXEC, 0);
	close(file.fd);
	ck_assert_int_eq(strncmp(head.data, "HTTP/1.1 200 OK\r\n", 17), 0);
	snprintf(length, sizeof length, "Content-Length: %zd", n);
	ck_assert(has_line(&head, length));
	ck_assert(has_line(&head, "X-Content-Type-Options: nosniff"));
	ck_assert_str_eq(head.data + head.size - 4, "\r\n\r\n");
	json_buffer_free(&head);
}

static void
assert_status(const char *path, int status)
{
	struct http_request request = get(path);
	struct json_buffer head;
	struct static_file file;
	int got = respond(&request, &head, &file);

	ck_assert_msg(got == status, "%s: %d", path, got);
	ck_assert_int_eq(file.fd, -1);
	ck_assert_int_eq(atoi(head.data + strlen("HTTP/1.1 ")), status);
	ck_assert(has_line(&head, "Content-Type: text/plain; charset=utf-8"));
	json_buffer_free(&head);
}

static void
assert_all_paths(void)
{
	static const char *const absent[] = { "/nothing", "/sub", "/app.js/",
		"/app.js/x", "//app.js", "/sub//index.html", "/sub/deep/",
		"/../secret.txt", "/%2e%2e/secret.txt", "/%2E./secret.txt",
		"/sub/../../secret.txt", "/sub/..%2f..%2fsecret.txt",
		"/sub/%2e%2e/%2e%2e/secret.txt", "/..%5csecret.txt",
		"/sub\\index.html", "/./app.js", "/sub/./index.html", "/sub/.",
		"/sub/..", "/.", "/..", "/.hidden", "/%2ehidden",
		"/.git/config", "/sub/..a", "/fifo", "/out.txt",
		"/out/secret.txt", "/out/root/app.js", "/absolute/etc/passwd",
		"/loop", "/dangling", "/app.js ", "/APP.JS", "/%2f",
		"/%2fetc/passwd" };
	static const char *const malformed[] = { "/%", "/%4", "/%4/", "/app%zz",
		"/%2", "/%g0", "/%0g", "/%00", "/app.js%00", "/%2e%00", "/%-1",
		"/%+1", "/% 1" };

	for (size_t i = 0; i < COUNT(absent); i++)
		assert_status(absent[i], 404);
	for (size_t i = 0; i < COUNT(malformed); i++)
		assert_status(malformed[i], 400);
	assert_found("/", "<p>index");
	assert_found("/index.html", "<p>index");
	assert_found("/sub/", "<p>sub");
	assert_found("/sub/index.html", "<p>sub");
	assert_found("/sub%2Findex.html", "<p>sub");
	assert_found("/app.js", "app();");
	assert_found("/%61pp%2ejs", "app();");
	assert_found("/sub/deep/a.json", "{}");
	assert_found("/with%20space+%c3%A9.txt", "space");
	assert_found("/empty.txt", "");
}

START_TEST(paths)
{
	char *path;

	assert_all_paths();
	assert_found("/link.js", "app();");
	assert_found("/linked/", "<p>sub");
	assert_found("/sub/up.js", "app();");

	path = xmalloc(10001);
	memset(path, 'a', 10000);
	path[0] = '/';
	path[10000] = '\0';
	assert_status(path, 404);
	free(path);
}
END_TEST

/* openat2(2) fails with the error from here on. */
static void
forbid_openat2(unsigned error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(filter), filter };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	ck_assert_int_eq(syscall(SYS_openat2, root, "app.js", NULL, 0), -1);
	ck_assert_int_eq(errno, (int)error);
}

/* An old kernel, or a filter: no symbolic links then, all else is the same. */
START_TEST(paths_without_openat2)
{
	forbid_openat2(ENOSYS);
	assert_all_paths();
	assert_status("/link.js", 404);
	assert_status("/linked/", 404);
}
END_TEST

START_TEST(paths_with_openat2_filtered)
{
	forbid_openat2(EPERM);
	assert_all_paths();
}
END_TEST

/* Nothing stays open, whatever the answer is. */
START_TEST(descriptors)
{
	int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;

	close(before);
	assert_all_paths();
	forbid_openat2(ENOSYS);
	assert_all_paths();
	after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(after, before);
	close(after);
}
END_TEST

START_TEST(no_descriptors)
{
	struct rlimit limit, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_status("/app.js", 500);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_found("/app.js", "app();");
}
END_TEST

START_TEST(methods)
{
	struct http_request request = get("/app.js");
	struct json_buffer head;
	struct static_file file;

	request.method = "HEAD";
	request.head = true;
	ck_assert_int_eq(respond(&request, &head, &file), 200);
	ck_assert_int_eq(file.fd, -1);
	ck_assert(has_line(&head, "Content-Length: 6"));
	ck_assert_str_eq(head.data + head.size - 4, "\r\n\r\n");
	json_buffer_free(&head);

	request.path = "/nothing";
	ck_assert_int_eq(respond(&request, &head, &file), 404);
	ck_assert(has_line(&head, "Content-Length: 14"));
	ck_assert_str_eq(head.data + head.size - 4, "\r\n\r\n");
	json_buffer_free(&head);

	request = get("/app.js");
	request.method = "POST";
	request.keep_alive = false;
	ck_assert_int_eq(respond(&request, &head, &file), 405);
	ck_assert_int_eq(file.fd, -1);
	ck_assert(has_line(&head, "Allow: GET, HEAD"));
	ck_assert(has_line(&head, "Connection: close"));
	ck_assert_ptr_nonnull(
	    strstr(head.data, "\r\n\r\n405 Method Not Allowed\n"));
	json_buffer_free(&head);
}
END_TEST

START_TEST(types_and_caches)
{
	static const char again[] = "no-cache";
	static const char lasting[] = "public, max-age=31536000, immutable";
	static const struct {
		const char *path, *type, *cache;
	} cases[] = {
		{ "/", "text/html; charset=utf-8", again },
		{ "/app.js", "text/javascript; charset=utf-8", again },
		{ "/module.mjs", "text/javascript; charset=utf-8", again },
		{ "/style.css", "text/css; charset=utf-8", again },
		{ "/sub/deep/a.json", "application/json", again },
		{ "/UPPER.PNG", "image/png", again },
		{ "/a.svg", "image/svg+xml", again },
		{ "/favicon.ico", "image/x-icon", again },
		{ "/empty.txt", "text/plain; charset=utf-8", again },
		{ "/a.woff2", "font/woff2", again },
		{ "/a.webmanifest", "application/manifest+json", again },
		{ "/a.wasm", "application/wasm", again },
		{ "/a.tar", "application/octet-stream", again },
		{ "/noending", "application/octet-stream", again },
		{ "/html", "application/octet-stream", again },
		{ "/assets/index-abc.js", "text/javascript; charset=utf-8",
		    lasting },
		{ "/assets/index-abc.js.map", "application/json", lasting },
		{ "/assets/page.html", "text/html; charset=utf-8", again },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct http_request request = get(cases[i].path);
		char *type = xasprintf("Content-Type: %s", cases[i].type);
		char *cache = xasprintf("Cache-Control: %s", cases[i].cache);
		struct json_buffer head;
		struct static_file file;

		ck_assert_int_eq(respond(&request, &head, &file), 200);
		ck_assert_msg(has_line(&head, type), "%s", head.data);
		ck_assert_msg(has_line(&head, cache), "%s", head.data);
		close(file.fd);
		free(type);
		free(cache);
		json_buffer_free(&head);
	}
}
END_TEST

/* The ETag of a path, quotes included. */
static char *
etag_of(const char *path)
{
	struct http_request request = get(path);
	struct json_buffer head;
	struct static_file file;
	const char *etag;
	char *copy;

	ck_assert_int_eq(respond(&request, &head, &file), 200);
	close(file.fd);
	etag = strstr(head.data, "\r\nETag: \"");
	ck_assert_ptr_nonnull(etag);
	etag += strlen("\r\nETag: ");
	copy = xasprintf("%.*s", (int)strcspn(etag, "\r"), etag);
	json_buffer_free(&head);
	return copy;
}

static int
status_if_none_match(const char *format, const char *etag)
{
	char *value = xasprintf("%.*s%s%s", (int)strcspn(format, "@"), format,
	    strchr(format, '@') != NULL ? etag : "",
	    strchr(format, '@') != NULL ? strchr(format, '@') + 1 : "");
	const struct http_header headers[] = {
		{ "Host", "a" },
		{ "If-None-Match", "\"first\"" },
		{ "if-none-match", value },
	};
	struct http_request request = get("/app.js");
	struct json_buffer head;
	struct static_file file;
	int status;

	request.headers = headers;
	request.nheaders = COUNT(headers);
	status = respond(&request, &head, &file);
	ck_assert_int_eq(file.fd == -1, status == 304);
	if (file.fd != -1)
		close(file.fd);
	if (status == 304) {
		ck_assert_ptr_nonnull(strstr(head.data, etag));
		ck_assert(has_line(&head, "Cache-Control: no-cache"));
		ck_assert_ptr_null(strstr(head.data, "Content-Length"));
		ck_assert_ptr_null(strstr(head.data, "Content-Type:"));
	}
	json_buffer_free(&head);
	free(value);
	return status;
}

START_TEST(if_none_match)
{
	static const char *const matching[] = { "@", "W/@", "*", "\"a\", @",
		"\"a\",W/@,\"b\"", "\"a,b\" , @", ",,@", "@, x" };
	static const char *const others[] = { "", "\"a\"", "W/", "\"", "\"a",
		"a, @", "w/@", "**", "*, \"a\"", "'@'", "\"a\" x @", ", ," };
	char *etag = etag_of("/app.js");

	for (size_t i = 0; i < COUNT(matching); i++)
		ck_assert_msg(status_if_none_match(matching[i], etag) == 304,
		    "%s", matching[i]);
	for (size_t i = 0; i < COUNT(others); i++)
		ck_assert_msg(status_if_none_match(others[i], etag) == 200,
		    "%s", others[i]);
	free(etag);
}
END_TEST

START_TEST(etag_changes)
{
	char *other = etag_of("/index.html"), *first = etag_of("/app.js");
	char *same = etag_of("/app.js"), *later, *larger;
	const struct timespec times[2] = { { 1, 0 }, { 1, 1 } };

	ck_assert_str_eq(first, same);
	ck_assert_str_ne(first, other);
	ck_assert_int_eq(utimensat(root, "app.js", times, 0), 0);
	later = etag_of("/app.js");
	ck_assert_str_ne(first, later);
	put_file("root/app.js", "app(1);");
	ck_assert_int_eq(utimensat(root, "app.js", times, 0), 0);
	larger = etag_of("/app.js");
	ck_assert_str_ne(later, larger);
	put_file("root/app.js", "app();");
	free(other);
	free(first);
	free(same);
	free(later);
	free(larger);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { paths, paths_without_openat2,
		paths_with_openat2_filtered, descriptors, no_descriptors,
		methods, types_and_caches, if_none_match, etag_changes };
	int result;

	make_tree();
	result = unit_main("static", tests, COUNT(tests));
	close(root);
	if (chdir("/") == -1 ||
	    nftw(base, remove_entry, 8, FTW_DEPTH | FTW_PHYS) != 0)
		err(1, "%s", base);
	return result;
}
