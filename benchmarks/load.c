/* load: sends mail over many connections from one thread, and checks every reply.

   usage: load [-m MODE] [-c CONNECTIONS] [-n MESSAGES] [-s OCTETS] [-t SECONDS] [-r RATE] HOST PORT

   MODE is what a connection does with its messages:
     kept       many messages a connection, one command at a time
     new        one message a connection
     pipelined  many messages a connection; MAIL, RCPT and DATA in one write (RFC 2920)

   OCTETS is the size of a message with its header and without the dot at its end. All of it has to be done in
   SECONDS. A reply of another code than the one expected, one that is none (RFC 5321 section 4.2), an early end of a
   connection and the end of the time each end the program: one line on stderr, exit status 1. A wrong command line is
   exit status 2. Else one line of JSON says what was done, when the server has closed the last connection.

   Without RATE a connection's next message begins when its last one is done. With it, messages are due at times that
   are fixed beforehand, RATE in a second on average, as many clients that know nothing of each other would send them
   (and the same times in each run). The first is due when all connections are up; the time that all took counts from
   then. One that is due begins on any connection that is free. Its latency counts from when it was due, so that a
   server which holds up one message answers for those that had to wait behind it. The line then has the latency that
   half of the messages kept within, that 99 % did, that 99.9 % did, and the longest, in seconds.

   A connection goes through a program of turns. A turn is what leaves in one write, and the replies that must come
   before the next one begins. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FROM "MAIL FROM:<a@example.com>\r\n"
#define TO "RCPT TO:<b@example.com>\r\n"
#define HEADER                                                                                                         \
    "From: <a@example.com>\r\nTo: <b@example.com>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"                        \
    "Message-ID: <1@client.example.com>\r\nSubject: load\r\n\r\n"

enum {
    LINE = 4096,     /* octets kept of replies that have not ended; RFC 5321 allows 512 for a line */
    TEXT_LINE = 78,  /* octets of a line of a message */
    EVENTS = 64,
    OPENING = 32,    /* connections that may wait for their greeting: under the backlog of 50 that servers often have */
    SMALLEST = sizeof HEADER + 1, /* octets: a header and an empty line */
};

struct turn {
    const char *name;
    const char *octets;
    size_t length;
    int replies;
    int codes[3];
};

#define TURN(name, octets, ...)                                                                                        \
    { name, octets, sizeof octets - 1, sizeof((int[]){__VA_ARGS__}) / sizeof(int), { __VA_ARGS__ } }

static const struct turn greeting = TURN("the greeting", "", 220);
static const struct turn hello = TURN("EHLO", "EHLO client.example.com\r\n", 250);
static const struct turn mail = TURN("MAIL", FROM, 250);
static const struct turn rcpt = TURN("RCPT", TO, 250);
static const struct turn data = TURN("DATA", "DATA\r\n", 354);
static const struct turn envelope = TURN("MAIL, RCPT and DATA", FROM TO "DATA\r\n", 250, 250, 354);
static struct turn content = TURN("the message", "", 250); /* filled in by `compose` */
static const struct turn quit = TURN("QUIT", "QUIT\r\n", 221);

static const struct turn *const one_by_one[] = {&greeting, &hello, &mail, &rcpt, &data, &content, &quit, NULL};
static const struct turn *const in_batches[] = {&greeting, &hello, &envelope, &content, &quit, NULL};
enum { MESSAGE = 2 }; /* where the turns of a message begin, in both */

struct connection {
    int fd;
    const struct turn *const *turn; /* points to NULL when all was said, and only the server's close is waited for */
    size_t sent;                    /* octets of the turn that are sent */
    int replies;                    /* to the turn, that have come */
    int code;                       /* of a reply that has more lines to come, or 0 */
    bool blocked;                   /* the socket took no more */
    double due;                     /* when its message had to begin */
    size_t kept;
    char input[LINE];
};

static const struct turn *const *program = one_by_one;
static bool fresh; /* a connection for each message */
static size_t total = 1000, started, finished, dialled, opening, alive;
static double start, deadline;
static int poller;

/* With a rate: connections that are free, the one that has been so for longest first, and what became of messages. */
static double rate, due = INFINITY, *latencies;
static struct connection **waiting;
static size_t places, first, waiters;
static int alarm_clock;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, " (%zu of %zu messages were done)\n", finished, total);
    va_end(arguments);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* A message of *octets*, and the dot behind it. */
static void compose(size_t octets)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *message = malloc(octets + 3), *end = message + octets, *next = message + sizeof HEADER - 1;
    if (message == NULL)
        fail("no memory for a message of %zu octets", octets);
    memcpy(message, HEADER, sizeof HEADER - 1);
    while (next < end) {
        size_t left = end - next, line = left < TEXT_LINE ? left : TEXT_LINE;
        if (left - line == 1) /* would be half a CRLF */
            line--;
        for (size_t n = 0; n < line - 2; n++)
            next[n] = letters[n % (sizeof letters - 1)];
        memcpy(next + line - 2, "\r\n", 2);
        next += line;
    }
    memcpy(end, ".\r\n", 3);
    content.octets = message;
    content.length = octets + 3;
}

/* --- a connection ------------------------------------------------------------------------------------------------ */

static void watch(struct connection *c, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (c->blocked ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

/* Begin to connect. Whether it worked is seen when there is something to read: the server speaks first. */
static void dial(struct connection *c, const struct addrinfo *address)
{
    int on = 1;
    *c = (struct connection){.turn = program};
    c->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, address->ai_addr, address->ai_addrlen) && errno != EINPROGRESS)
        fail("cannot connect: %s", strerror(errno));
    watch(c, EPOLL_CTL_ADD);
    dialled++;
    opening++;
    alive++;
}

/* Send what the socket takes of the turn. */
static void push(struct connection *c)
{
    const struct turn *turn = *c->turn;
    bool was_blocked = c->blocked;
    c->blocked = false;
    while (c->sent < turn->length && !c->blocked) {
        ssize_t n = send(c->fd, turn->octets + c->sent, turn->length - c->sent, MSG_NOSIGNAL);
        if (n >= 0)
            c->sent += n;
        else if (errno == EAGAIN)
            c->blocked = true;
        else if (errno == EPIPE || errno == ECONNRESET) /* why is yet to be read */
            c->sent = turn->length;
        else if (errno != EINTR)
            fail("cannot send %s: %s", turn->name, strerror(errno));
    }
    if (c->blocked != was_blocked)
        watch(c, EPOLL_CTL_MOD);
}

/* A message may begin here: it does, or it is yet to be due, or there are no more. */
static void begin(struct connection *c)
{
    c->turn = program + MESSAGE;
    if (started == total) {
        while (*c->turn != &quit)
            c->turn++;
    } else if (rate > 0 && due > now()) {
        waiting[(first + waiters++) % places] = c;
        return;
    } else {
        started++;
        c->due = due;
        due -= log(1 - drand48()) / rate;
    }
    push(c);
}

/* The turn has had its replies: on to the next one. */
static void advance(struct connection *c)
{
    opening -= *c->turn == &greeting;
    if (*c->turn == &content) {
        if (rate > 0)
            latencies[finished] = now() - c->due;
        finished++;
    }
    c->turn++;
    c->sent = 0;
    c->replies = 0;
    if (c->turn == program + MESSAGE || (*c->turn == &quit && !fresh))
        begin(c);
    else if (*c->turn != NULL)
        push(c);
}

/* One line of a reply, ended by a NUL. */
static void heed(struct connection *c, char *line)
{
    const struct turn *turn = *c->turn;
    const char *name = turn ? turn->name : quit.name;
    for (char *each = line; *each; each++)
        if (*each < ' ' || *each > '~')
            *each = '?';
    bool coded = strspn(line, "0123456789") == 3 && (line[3] == ' ' || line[3] == '-' || line[3] == '\0');
    int code = atoi(line);
    if (!coded || (c->code && c->code != code))
        fail("%s was answered by what is no reply: %.512s", name, line);
    if (turn == NULL || c->replies == turn->replies)
        fail("%s was answered once more: %.512s", name, line);
    if (turn->codes[c->replies] != code)
        fail("%s was answered by %.512s", name, line);
    if (c->sent < turn->length)
        fail("%s was answered before it was sent: %.512s", name, line);
    c->code = line[3] == '-' ? code : 0;
    if (c->code == 0)
        c->replies++;
}

/* Read what there is. */
static void pull(struct connection *c)
{
    ssize_t n = recv(c->fd, c->input + c->kept, sizeof c->input - c->kept, 0);
    const struct turn *turn = *c->turn;
    const char *name = turn ? turn->name : quit.name;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0 && errno != ECONNRESET && errno != EPIPE)
        fail("waiting for the reply to %s: %s", name, strerror(errno));
    if (n <= 0) {
        if (turn != NULL)
            fail("the server closed the connection instead of replying to %s", name);
        close(c->fd);
        c->fd = -1;
        alive--;
        return;
    }
    char *line = c->input, *end = c->input + c->kept + n, *newline;
    while ((newline = memmem(line, end - line, "\r\n", 2)) != NULL) {
        *newline = '\0';
        heed(c, line);
        line = newline + 2;
    }
    c->kept = end - line;
    if (c->kept == sizeof c->input)
        fail("%s was answered by a line without an end", name);
    memmove(c->input, line, c->kept);
    if (turn != NULL && c->replies == turn->replies)
        advance(c);
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

/* Begin the messages that are due, and set the clock for the next one. */
static void keep_time(void)
{
    if (due == INFINITY && waiters == places)
        start = due = now();
    while (waiters && (started == total || due <= now())) {
        struct connection *c = waiting[first];
        first = (first + 1) % places;
        waiters--;
        begin(c);
    }
    if (waiters && due < INFINITY) {
        struct itimerspec time = {.it_value = {(time_t)due, (long)(fmod(due, 1) * 1e9)}};
        timerfd_settime(alarm_clock, TFD_TIMER_ABSTIME, &time, NULL);
    }
}

static void schedule(size_t connections)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    places = connections < total ? connections : total;
    waiting = calloc(places, sizeof *waiting);
    latencies = calloc(total, sizeof *latencies);
    alarm_clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (waiting == NULL || latencies == NULL || alarm_clock < 0)
        fail("no memory for %zu latencies", total);
    epoll_ctl(poller, EPOLL_CTL_ADD, alarm_clock, &event);
}

static void run(const struct addrinfo *address, size_t connections)
{
    struct connection *all = calloc(connections, sizeof *all), **idle = calloc(connections, sizeof *idle);
    struct epoll_event events[EVENTS];
    size_t resting = 0;
    if (all == NULL || idle == NULL)
        fail("no memory for %zu connections", connections);
    while (resting < connections) {
        idle[resting] = &all[resting];
        resting++;
    }
    for (;;) {
        while (resting && dialled < total && opening < OPENING)
            dial(idle[--resting], address);
        if (!alive)
            break;
        double left = deadline - now();
        int count = left > 0 ? epoll_wait(poller, events, EVENTS, (int)(left * 1000) + 1) : 0;
        if (count == 0)
            fail("the time is up");
        for (int n = 0; n < count; n++) {
            struct connection *c = events[n].data.ptr;
            if (c == NULL) /* the clock */
                continue;
            if (c->blocked && events[n].events & EPOLLOUT)
                push(c);
            if (events[n].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                pull(c);
            if (c->fd < 0 && fresh)
                idle[resting++] = c;
        }
        if (rate > 0)
            keep_time();
    }
    free(idle);
    free(all);
}

static void misused(const char *why)
{
    fprintf(stderr, "load: %s\nusage: load [-m kept|new|pipelined] [-c CONNECTIONS] [-n MESSAGES] [-s OCTETS] "
                    "[-t SECONDS] [-r RATE] HOST PORT\n", why);
    exit(2);
}

static size_t number(const char *text, size_t least)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9' || value < least || value > 1ul << 40) {
        fprintf(stderr, "load: %s is not a number from %zu on\n", text, least);
        exit(2);
    }
    return value;
}

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

/* The latency that this share of the messages kept within. */
static double quantile(double share)
{
    size_t rank = ceil(share * finished);
    return latencies[rank ? rank - 1 : 0];
}

int main(int count, char **arguments)
{
    size_t connections = 20, octets = 1000, seconds = 60;
    const char *mode = "kept";
    int option;
    while ((option = getopt(count, arguments, "m:c:n:s:t:r:")) != -1) {
        switch (option) {
        case 'm': mode = optarg; break;
        case 'c': connections = number(optarg, 1); break;
        case 'n': total = number(optarg, 1); break;
        case 's': octets = number(optarg, SMALLEST); break;
        case 't': seconds = number(optarg, 1); break;
        case 'r': rate = number(optarg, 1); break;
        default: misused("there is no such option, or it needs a value");
        }
    }
    if (count - optind != 2)
        misused("HOST and PORT are needed");
    if (strcmp(mode, "pipelined") == 0)
        program = in_batches;
    else if (strcmp(mode, "new") == 0)
        fresh = true;
    else if (strcmp(mode, "kept") != 0)
        misused("there is no such mode");
    if (fresh && rate > 0)
        misused("a rate is for connections that stay");

    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
    int error = getaddrinfo(arguments[optind], arguments[optind + 1], &hints, &address);
    if (error)
        fail("%s: %s", arguments[optind], gai_strerror(error));
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        fail("epoll_create1: %s", strerror(errno));
    compose(octets);
    if (rate > 0)
        schedule(connections);

    start = now();
    deadline = start + seconds;
    run(address, connections);
    double took = now() - start;
    freeaddrinfo(address);
    if (finished != total)
        fail("connections ended too early");

    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"messages\": %zu, \"connections\": %zu, \"seconds\": %.6f, \"cpu\": %.6f", finished, dialled, took, cpu);
    if (rate > 0) {
        qsort(latencies, finished, sizeof *latencies, compare);
        printf(", \"latency\": [%.6f, %.6f, %.6f, %.6f]", quantile(0.5), quantile(0.99), quantile(0.999), quantile(1));
    }
    puts("}");
    return 0;
}
