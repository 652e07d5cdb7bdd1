/*
 * The looper of Android's NDK, for Linux programs.
 *
 * This header declares the functions and constants of the NDK's <android/looper.h>, with the same names and values, so
 * that code which was written for Android compiles on Linux without a change. The text is alooper's own.
 *
 * A looper waits for file descriptors. A thread has one at most, and polls it itself. Other threads may add and remove
 * fds, and wake it. No function ends the process. What fails says why in errno.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef ANDROID_LOOPER_H
#define ANDROID_LOOPER_H

#ifdef __cplusplus
extern "C" {
#endif

/* A thread's looper. It lives until its thread has ended and all references to it are released. */
typedef struct ALooper ALooper;

/* Options of ALooper_prepare(). */
enum {
    /* Fds may be added without a callback. The thread learns of them by what its polls return. */
    ALOOPER_PREPARE_ALLOW_NON_CALLBACKS = 1 << 0,
};

/* What a poll returns if it is not an ident. */
enum {
    /* ALooper_wake() was called. No callback ran, and no fd without a callback is ready. */
    ALOOPER_POLL_WAKE = -1,
    /* At least one callback ran. */
    ALOOPER_POLL_CALLBACK = -2,
    /* The time has passed. */
    ALOOPER_POLL_TIMEOUT = -3,
    /* It failed, see errno. */
    ALOOPER_POLL_ERROR = -4,
};

/* What an fd is watched for, and what it is ready for. The last three are told whether or not they are asked for. */
enum {
    /* It can be read. */
    ALOOPER_EVENT_INPUT = 1 << 0,
    /* It can be written. */
    ALOOPER_EVENT_OUTPUT = 1 << 1,
    /* It is in an error state. */
    ALOOPER_EVENT_ERROR = 1 << 2,
    /* The other end is gone. */
    ALOOPER_EVENT_HANGUP = 1 << 3,
    /* It is not valid. epoll forgets an fd that is closed, so nothing tells this. */
    ALOOPER_EVENT_INVALID = 1 << 4,
};

/*
 * A callback: gets the fd, what it is ready for, and the pointer that was passed to ALooper_addFd().
 *
 * Returns 1 to be called again, 0 to be removed. It may throw a C++ exception, which passes through the poll; the fd
 * stays watched then.
 */
typedef int (*ALooper_callbackFunc)(int fd, int events, void* data);

/* Returns the calling thread's looper, NULL if it has none. */
ALooper* ALooper_forThread(void);

/*
 * Returns the calling thread's looper, and makes it the first time. The options of the first call count.
 *
 * opts: 0 or ALOOPER_PREPARE_ALLOW_NON_CALLBACKS.
 * NULL if it cannot be made, with errno: EMFILE, ENFILE, ENOMEM.
 */
ALooper* ALooper_prepare(int opts);

/* Acquires a reference, so that the looper can be given to another thread. Any thread. */
void ALooper_acquire(ALooper* looper);

/*
 * Releases a reference that ALooper_acquire() has acquired. Any thread.
 *
 * One too many is EINVAL and changes nothing while the looper lives. A debug build of the library keeps each looper
 * that has ended, tells of a release that comes too late on stderr, and does not crash.
 */
void ALooper_release(ALooper* looper);

/*
 * Waits until something happens, and calls back for each fd that is ready and has a callback.
 *
 * timeoutMillis: 0 does not wait, less waits for ever, more is the longest wait in milliseconds.
 * outFd, outEvents, outData: where to put the fd, what it is ready for, and its pointer, when an ident is returned; each
 * may be NULL. When anything else is returned, 0, 0 and NULL are put there.
 *
 * Returns the ident (0 or more) of an fd without a callback that is ready, or one of ALOOPER_POLL_... Several idents
 * are returned by as many polls, which do not wait; one that has been removed meanwhile is not. A wake that comes with
 * an ident or a callback is returned by the next poll. Errors: EINVAL if the thread has no looper, EDEADLK inside a
 * callback, ESHUTDOWN if the looper has quit.
 */
int ALooper_pollOnce(int timeoutMillis, int* outFd, int* outEvents, void** outData);

/*
 * Polls until it returns something else than ALOOPER_POLL_CALLBACK.
 *
 * The NDK has removed it, since it could miss a wake. This one does not. It is here for old code.
 */
int ALooper_pollAll(int timeoutMillis, int* outFd, int* outEvents, void** outData);

/* Ends the looper's poll, or else its next one. Any number of calls before that are one. Any thread. */
void ALooper_wake(ALooper* looper);

/*
 * Watches an fd. If it is watched already, this takes the place of what was. Any thread.
 *
 * The fd must stay open until it is removed. It is not closed.
 * ident: what polls return for it, 0 or more. It means nothing if there is a callback.
 * callback: what is called when it is ready. NULL if the looper was prepared for that, and an ident is given.
 * data: what the callback, or outData, gets.
 *
 * Returns 1, or -1 with errno: EINVAL if there is neither a callback nor an ident, EBADF if the fd is not open, EPERM
 * for a regular file, ESHUTDOWN if the looper has quit or its thread has ended.
 */
int ALooper_addFd(ALooper* looper, int fd, int ident, int events, ALooper_callbackFunc callback, void* data);

/*
 * Stops watching an fd. When this returns, the fd may be closed. Any thread.
 *
 * No call of its callback begins after this. One that another thread is in goes on.
 * Returns 1, or 0 if the fd was not watched, or -1 with errno.
 */
int ALooper_removeFd(ALooper* looper, int fd);

#ifdef __cplusplus
}
#endif

#endif
