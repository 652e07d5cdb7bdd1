/*
 * A game after the pattern of Android's native app glue.
 *
 * The system's thread (main) sends commands through a pipe. The game has a thread with a looper: commands and touches
 * have idents, a sensor has a callback. The loop polls without a wait while the game is animated, and for ever while it
 * is paused. Prints what it did, which is always the same.
 */
#include <android/looper.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "check.h"

enum { IDENT_COMMAND = 1, IDENT_TOUCH = 2 };
enum { COMMAND_RESUME, COMMAND_PAUSE, COMMAND_DESTROY };

struct app;

/* What an ident's data points to: who serves it. */
struct source {
    int ident;
    void (*process)(struct app*, struct source*);
};

struct app {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    ALooper* looper;
    int commands[2], touches[2], sensor[2];
    struct source command_source, touch_source;
    /* Guarded by the mutex. */
    int last_command;
    /* Set by the system's thread, which wakes the looper then. */
    atomic_int wants_screenshot;
    /* The game's own. */
    int animating, destroyed;
    /* What it has done, for the system's thread to see. */
    atomic_int touched, sensed, screenshots, frames;
};

static void serve_command(struct app* app, struct source* source) {
    signed char command;
    CHECK(source->ident == IDENT_COMMAND);
    CHECK(read(app->commands[0], &command, 1) == 1);
    if (command == COMMAND_RESUME) app->animating = 1;
    if (command == COMMAND_PAUSE) app->animating = 0;
    if (command == COMMAND_DESTROY) app->destroyed = 1;
    pthread_mutex_lock(&app->mutex);
    app->last_command = command;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mutex);
}

static void serve_touch(struct app* app, struct source* source) {
    char touch;
    CHECK(source->ident == IDENT_TOUCH);
    CHECK(read(app->touches[0], &touch, 1) == 1);
    app->touched++;
}

/* Four readings, then it is switched off. */
static int serve_sensor(int fd, int events, void* data) {
    struct app* app = data;
    char reading;
    CHECK(fd == app->sensor[0] && events == ALOOPER_EVENT_INPUT);
    CHECK(read(fd, &reading, 1) == 1);
    return ++app->sensed < 4;
}

static void draw(struct app* app) {
    app->frames++;
    usleep(1000);
}

static void* game(void* data) {
    struct app* app = data;
    CHECK(ALooper_forThread() == NULL);
    ALooper* looper = ALooper_prepare(ALOOPER_PREPARE_ALLOW_NON_CALLBACKS);
    CHECK(looper != NULL && ALooper_forThread() == looper);
    CHECK(ALooper_addFd(looper, app->commands[0], IDENT_COMMAND, ALOOPER_EVENT_INPUT, NULL, &app->command_source) == 1);
    CHECK(ALooper_addFd(looper, app->touches[0], IDENT_TOUCH, ALOOPER_EVENT_INPUT, NULL, &app->touch_source) == 1);
    CHECK(ALooper_addFd(looper, app->sensor[0], ALOOPER_POLL_CALLBACK, ALOOPER_EVENT_INPUT, serve_sensor, app) == 1);
    pthread_mutex_lock(&app->mutex);
    ALooper_acquire(looper);
    app->looper = looper;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mutex);

    while (!app->destroyed) {
        int ident, fd, events;
        void* source;
        while ((ident = ALooper_pollOnce(app->animating ? 0 : -1, &fd, &events, &source)) != ALOOPER_POLL_TIMEOUT) {
            CHECK(ident != ALOOPER_POLL_ERROR);
            if (ident >= 0) {
                CHECK(events == ALOOPER_EVENT_INPUT && ((struct source*)source)->ident == ident);
                ((struct source*)source)->process(app, source);
            }
            if (atomic_exchange(&app->wants_screenshot, 0)) app->screenshots++;
            if (app->destroyed) break;
        }
        if (app->animating && !app->destroyed) draw(app);
    }
    CHECK(ALooper_removeFd(looper, app->commands[0]) == 1);
    CHECK(ALooper_removeFd(looper, app->touches[0]) == 1);
    CHECK(ALooper_removeFd(looper, app->sensor[0]) == 0);
    return NULL;
}

static void send(struct app* app, signed char command) {
    CHECK(write(app->commands[1], &command, 1) == 1);
    pthread_mutex_lock(&app->mutex);
    while (app->last_command != command) pthread_cond_wait(&app->changed, &app->mutex);
    pthread_mutex_unlock(&app->mutex);
}

/* Waits until the game has done something so many times. */
static void await(atomic_int* done, int times) {
    while (atomic_load(done) < times) usleep(1000);
}

int main(void) {
    struct app app = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .last_command = -1};
    app.command_source = (struct source){IDENT_COMMAND, serve_command};
    app.touch_source = (struct source){IDENT_TOUCH, serve_touch};
    CHECK(pipe(app.commands) == 0 && pipe(app.touches) == 0 && pipe(app.sensor) == 0);
    CHECK(pthread_create(&app.thread, NULL, game, &app) == 0);
    pthread_mutex_lock(&app.mutex);
    while (app.looper == NULL) pthread_cond_wait(&app.changed, &app.mutex);
    pthread_mutex_unlock(&app.mutex);

    send(&app, COMMAND_RESUME);
    CHECK(write(app.touches[1], "tap", 3) == 3);
    CHECK(write(app.sensor[1], "12345", 5) == 5);
    await(&app.touched, 3);
    await(&app.sensed, 4);
    await(&app.frames, 1);
    send(&app, COMMAND_PAUSE);
    /* The game waits for ever now. */
    atomic_store(&app.wants_screenshot, 1);
    ALooper_wake(app.looper);
    await(&app.screenshots, 1);
    send(&app, COMMAND_DESTROY);
    CHECK(pthread_join(app.thread, NULL) == 0);

    /* Its thread has ended, and the reference is still good. */
    ALooper_wake(app.looper);
    ALooper_release(app.looper);
    printf("touches %d, readings %d, screenshots %d\n", app.touched, app.sensed, app.screenshots);
    for (int end = 0; end < 2; end++) {
        close(app.commands[end]);
        close(app.touches[end]);
        close(app.sensor[end]);
    }
    return 0;
}
