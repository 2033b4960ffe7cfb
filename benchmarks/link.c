/* A TCP proxy that behaves like a distant link.
 *
 *   link PORT UPSTREAM_PORT ROUND_TRIP_MS BYTES_PER_SECOND_A_CONNECTION BYTES_PER_SECOND_OF_THE_LINK
 *
 * Each byte arrives half a round trip after it was sent, a connection's first byte a whole one later,
 * as after a handshake. What comes from upstream is paced to both rates; 0 is no limit. One thread
 * on 127.0.0.1, without a timer finer than a tick of half a millisecond.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 16, EVENTS = 256 };
static const double TICK = 0.0005, BACKLOG = 0.004; /* seconds */

struct block {
    struct block *next;
    double due;
    int size, sent;
    char data[BLOCK];
};

struct direction {
    struct connection *connection;
    int from, to, open, paced, reading;
    double busy_until;
    struct block *first, *last;
};

struct connection {
    struct connection *next;
    struct direction up, down;
    double established;
    int dead;
};

static double delay, rate, link_rate, link_busy_until;
static int poller;
static struct block *spare;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double later(double a, double b) { return a > b ? a : b; }

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct block *take_block(void) {
    struct block *block = spare;
    if (block)
        spare = block->next;
    else if (!(block = malloc(sizeof *block)))
        fail("malloc");
    block->next = NULL;
    block->sent = 0;
    return block;
}

static void give_back(struct block *block) {
    block->next = spare;
    spare = block;
}

static void read_from(struct direction *d, int on) {
    struct epoll_event event = {.events = on ? EPOLLIN : 0};
    event.data.ptr = d;
    if (d->reading != on && epoll_ctl(poller, EPOLL_CTL_MOD, d->from, &event) == 0)
        d->reading = on;
}

/* Whether so much waits to be sent at the allowed rates that the sender must wait too. */
static int is_behind(struct direction *d, double at) {
    if (!d->paced)
        return 0;
    return (rate && d->busy_until - at > BACKLOG) || (link_rate && link_busy_until - at > BACKLOG);
}

static void receive(struct direction *d, double at) {
    struct connection *c = d->connection;
    struct block *block = take_block();
    int size = recv(d->from, block->data, BLOCK, 0);
    if (size <= 0) {
        give_back(block);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        d->open = 0;
        c->dead |= size < 0;
        read_from(d, 0);
        return;
    }
    double leaves = later(at, c->established);
    if (d->paced && rate)
        leaves = d->busy_until = later(leaves, d->busy_until) + size / rate;
    if (d->paced && link_rate) {
        link_busy_until = later(at, link_busy_until) + size / link_rate;
        leaves = later(leaves, link_busy_until);
    }
    block->size = size;
    block->due = leaves + delay / 2;
    if (d->last)
        d->last->next = block;
    else
        d->first = block;
    d->last = block;
    if (is_behind(d, at))
        read_from(d, 0);
}

static void deliver(struct direction *d, double at) {
    struct connection *c = d->connection;
    while (d->first && d->first->due <= at) {
        struct block *block = d->first;
        int sent = send(d->to, block->data + block->sent, block->size - block->sent, MSG_NOSIGNAL);
        if (sent < 0) {
            c->dead |= errno != EAGAIN && errno != EINTR;
            return;
        }
        block->sent += sent;
        if (block->sent < block->size)
            return;
        d->first = block->next;
        if (!d->first)
            d->last = NULL;
        give_back(block);
    }
    if (!d->open && !d->first && d->to >= 0) {
        shutdown(d->to, SHUT_WR);
        d->to = -1;
    } else if (d->open && !d->reading && !is_behind(d, at))
        read_from(d, 1);
}

static void watch(struct direction *d) {
    struct epoll_event event = {.events = EPOLLIN};
    event.data.ptr = d;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, d->from, &event) < 0)
        fail("epoll_ctl");
    d->reading = 1;
}

static struct connection *open_connection(int near, struct sockaddr_in *upstream) {
    int on = 1, far = socket(AF_INET, SOCK_STREAM, 0);
    if (far < 0 || connect(far, (struct sockaddr *)upstream, sizeof *upstream) < 0)
        fail("connect");
    struct connection *c = calloc(1, sizeof *c);
    int ends[] = {near, far};
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    c->established = now() + delay;
    c->up = (struct direction){.connection = c, .from = near, .to = far, .open = 1};
    c->down = (struct direction){.connection = c, .from = far, .to = near, .open = 1, .paced = 1};
    watch(&c->up);
    watch(&c->down);
    return c;
}

static int is_over(struct connection *c) {
    return c->dead || (c->up.to < 0 && c->down.to < 0);
}

static void discard(struct connection *c) {
    struct direction *both[] = {&c->up, &c->down};
    for (int i = 0; i < 2; i++) {
        close(both[i]->from);
        while (both[i]->first) {
            struct block *block = both[i]->first;
            both[i]->first = block->next;
            give_back(block);
        }
    }
    free(c);
}

int main(int count, char **words) {
    if (count != 6) {
        fprintf(stderr, "usage: link PORT UPSTREAM_PORT ROUND_TRIP_MS RATE LINK_RATE\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    delay = atof(words[3]) / 1000;
    rate = atof(words[4]);
    link_rate = atof(words[5]);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    struct sockaddr_in upstream = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    here.sin_addr.s_addr = upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listening, (struct sockaddr *)&here, sizeof here) < 0 || listen(listening, 1024) < 0)
        fail("listen");
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, found[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listening, &event);
    struct connection *all = NULL;
    struct timespec tick = {.tv_nsec = TICK * 1e9};
    for (;;) {
        int ready = epoll_pwait2(poller, found, EVENTS, all ? &tick : NULL, NULL);
        double at = now();
        for (int i = 0; i < ready; i++) {
            struct direction *d = found[i].data.ptr;
            for (int near; !d && (near = accept(listening, NULL, NULL)) >= 0;) {
                struct connection *c = open_connection(near, &upstream);
                c->next = all;
                all = c;
            }
            if (d)
                receive(d, at);
        }
        for (struct connection **link = &all; *link;) {
            struct connection *c = *link;
            deliver(&c->up, at);
            deliver(&c->down, at);
            if (is_over(c)) {
                *link = c->next;
                discard(c);
            } else
                link = &c->next;
        }
    }
}
