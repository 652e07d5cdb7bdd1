/* alooper.h: functions that run later, from two threads, and an end. */
#include <alooper.h>
#include <android/looper.h>
#include <pthread.h>

#include "check.h"

static void say(void* text) { printf("%s\n", (const char*)text); }

static void forget(void* text) { printf("%s will not run\n", (const char*)text); }

static void end(void* looper) { alooper_quit_safely(looper); }

static void* other_thread(void* looper) {
    CHECK(alooper_post(looper, say, NULL, "posted by another thread") != 0);
    return NULL;
}

int main(void) {
    const uint64_t unit = 20 * 1000000; /* 20 ms */
    ALooper* looper = ALooper_prepare(0);
    CHECK(looper != NULL);

    CHECK(alooper_post(looper, say, NULL, "now") != 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, looper) == 0);
    CHECK(pthread_join(thread, NULL) == 0);

    CHECK(alooper_post_delayed(looper, unit, say, NULL, "after 1 unit") != 0);
    uint64_t start = alooper_now();
    CHECK(alooper_post_at(looper, start + 2 * unit, say, NULL, "at 2 units") != 0);
    CHECK(alooper_post_at(looper, start + 3 * unit, end, NULL, looper) != 0);
    CHECK(alooper_post_delayed(looper, 1000000 * unit, say, forget, "what is due much later") != 0);
    uint64_t never = alooper_post_delayed(looper, 100 * unit, say, forget, "what was cancelled");
    CHECK(alooper_cancel(looper, never) == 1 && alooper_cancel(looper, never) == 0);

    char text[16];
    CHECK(alooper_dump(looper, text, sizeof text) > (int)sizeof text && strlen(text) == sizeof text - 1);

    while (ALooper_pollOnce(-1, NULL, NULL, NULL) != ALOOPER_POLL_ERROR) continue;
    CHECK(errno == ESHUTDOWN && alooper_has_quit(looper) == 1);
    CHECK(alooper_now() - start >= 3 * unit);
    CHECK(alooper_post(looper, say, forget, "too late") == 0 && errno == ESHUTDOWN);
    printf("the end\n");
    return 0;
}
