/* Socket addresses, as Python writes them and as the kernel does. */
#include "_native.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

PyObject *address_words(const struct sockaddr_storage *address, socklen_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        return Py_BuildValue("(si)", host, (int)ntohs(in->sin_port));
    }
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        return Py_BuildValue("(si)", host, (int)ntohs(in->sin6_port));
    }
    const size_t begin = offsetof(struct sockaddr_un, sun_path);
    if (address->ss_family == AF_UNIX && size > begin) {
        const char *path = ((const struct sockaddr_un *)address)->sun_path;
        return PyUnicode_DecodeFSDefaultAndSize(path, (Py_ssize_t)strnlen(path, size - begin));
    }
    Py_RETURN_NONE;
}

socklen_t address_read(struct sockaddr_storage *to, int family, const char *host, int port)
{
    memset(to, 0, sizeof *to);
    to->ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)to;
        in->sin_port = htons((uint16_t)port);
        return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? sizeof *in : 0;
    }
    if (family == AF_INET6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)to;
        in->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host, &in->sin6_addr) == 1 ? sizeof *in : 0;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)to;
    size_t n = strlen(host);
    if (family != AF_UNIX || n >= sizeof un->sun_path) return 0;
    memcpy(un->sun_path, host, n + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
}
