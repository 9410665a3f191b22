/* HTTP/1.1 as both ends of the load generator need it: GETs of bodies of a known size.
 *
 * /plain/SIZE/MARK is answered with a body that begins with the mark. /cached/SIZE is answered
 * with a body that is always the same, which a cache may keep for an hour.
 */
#ifndef HTTP_H
#define HTTP_H
#include "messages.h"

#define MAX_REQUEST 256
#define MAX_ANSWER 8192 /* a head */

typedef struct {
    size_t size;
    const char *mark; /* MARK bytes; NULL for what a cache may keep */
    int is_last;      /* the client wants the connection closed */
} Asked;

/* Write a request, with an empty mark; its length. */
static size_t write_request(char to[MAX_REQUEST], size_t size, int is_cached, size_t *mark)
{
    int begun = snprintf(to, MAX_REQUEST, "GET /%s/%zu", is_cached ? "cached" : "plain", size);
    *mark = (size_t)begun + 1;
    int length = snprintf(to + begun, MAX_REQUEST - (size_t)begun,
                          "%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load/1\r\n"
                          "Accept: */*\r\n\r\n",
                          is_cached ? "" : "/................");
    return (size_t)(begun + length);
}

/* Read a whole head of n bytes; 0, or -1 if it is no such GET. */
static int read_request(const char *head, size_t n, Asked *asked)
{
    static const char plain[] = "GET /plain/", cached[] = "GET /cached/";
    int is_plain = n >= sizeof plain && !memcmp(head, plain, sizeof plain - 1);
    int is_cached = n >= sizeof cached && !memcmp(head, cached, sizeof cached - 1);
    if (!is_plain && !is_cached) return -1;
    char *end; /* of the digits: the head ends in none */
    asked->size = strtoul(head + (is_plain ? sizeof plain : sizeof cached) - 1, &end, 10);
    if (asked->size < MARK || asked->size > MAX_SIZE) return -1;
    asked->mark = NULL;
    if (is_plain) {
        if (*end != '/' || (size_t)(head + n - end) < MARK + 1) return -1;
        asked->mark = end + 1;
    }
    size_t length;
    const char *connection = find_field(head, n, "connection", &length);
    asked->is_last = connection && length == 5 && !strncasecmp(connection, "close", 5);
    return 0;
}

static const char *http_date(void)
{
    static char text[40];
    static time_t when;
    time_t t = time(NULL);
    if (t != when) {
        struct tm parts;
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &parts));
        when = t;
    }
    return text;
}

/* Write the head of an answer; its length. */
static size_t write_answer(char to[MAX_REQUEST], const Asked *asked)
{
    return (size_t)snprintf(to, MAX_REQUEST,
                            "HTTP/1.1 200 OK\r\nServer: load\r\nDate: %s\r\n"
                            "Content-Type: text/plain\r\nContent-Length: %zu\r\n%s%s\r\n",
                            http_date(), asked->size,
                            asked->mark ? "" : "Cache-Control: public, max-age=3600\r\n",
                            asked->is_last ? "Connection: close\r\n" : "");
}

/* Whether a whole head of n bytes is 200, and has a body of so many bytes behind it. */
static int is_answer(const char *head, size_t n, size_t size)
{
    size_t length;
    const char *said = find_field(head, n, "content-length", &length);
    if (n < 16 || memcmp(head, "HTTP/1.1 200", 12) || !said) return 0;
    char *end;
    return strtoul(said, &end, 10) == size && end == said + length &&
           !find_field(head, n, "transfer-encoding", &length);
}

#endif
