/*
 * What Android's native looper does not have: functions that run later, and an end.
 *
 * All functions but alooper_now() take a looper of <android/looper.h>, on any thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef ALOOPER_H
#define ALOOPER_H

#include <android/looper.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A function that runs on the looper's thread, in a poll. It may throw a C++ exception, which passes through the poll. */
typedef void (*alooper_func)(void* data);

/* What is called instead if the function will not run: to free its data. It must not throw. */
typedef void (*alooper_discard_func)(void* data);

/* The time on CLOCK_MONOTONIC, in nanoseconds. */
uint64_t alooper_now(void);

/*
 * Posts run(data): now, which is after all that is due already; after a delay in nanoseconds; at a time of
 * alooper_now(). It never runs early. What is due at the same time runs in the order in which it was posted.
 *
 * Returns a number to cancel it by. Exactly one of run and discard is called, once: discard if it is cancelled, or if the
 * looper quits or its thread ends before. discard may be NULL.
 * Returns 0 with errno if it is refused, and calls neither: ESHUTDOWN if the looper has quit or its thread has ended.
 */
uint64_t alooper_post(ALooper* looper, alooper_func run, alooper_discard_func discard, void* data);
uint64_t alooper_post_delayed(ALooper* looper, uint64_t delay, alooper_func run, alooper_discard_func discard,
                              void* data);
uint64_t alooper_post_at(ALooper* looper, uint64_t when, alooper_func run, alooper_discard_func discard, void* data);

/*
 * Cancels what was posted, and calls its discard.
 *
 * Returns 1 if that kept it from running; 0 if it has run, runs or was cancelled; -1 with errno.
 */
int alooper_cancel(ALooper* looper, uint64_t posted);

/*
 * Ends the looper: what is posted is given up, no callback starts any more, and polls return ALOOPER_POLL_ERROR with
 * ESHUTDOWN. alooper_quit_safely() lets the functions run first that are due by now. The first of these calls counts.
 *
 * Returns 0, or -1 with errno.
 */
int alooper_quit(ALooper* looper);
int alooper_quit_safely(ALooper* looper);

/* Returns 1 if the looper has quit or its thread has ended, 0 if not, -1 with errno. */
int alooper_has_quit(ALooper* looper);

/*
 * Writes the looper's state as text: what is posted, which fds are watched, what was counted.
 *
 * At most size bytes, the last one a zero. Returns the length of the whole text, as snprintf(), or -1 with errno.
 */
int alooper_dump(ALooper* looper, char* buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif
