// Callbacks and posted functions that throw: the exception passes through the poll, and the looper stays usable.
#include <alooper.h>
#include <android/looper.h>
#include <unistd.h>

#include <exception>
#include <stdexcept>
#include <string>

#include "check.h"

namespace {

struct Pipe {
    int ends[2];
    Pipe() { CHECK(pipe(ends) == 0); }
    ~Pipe() {
        close(ends[0]);
        close(ends[1]);
    }
    void fill() { CHECK(write(ends[1], "x", 1) == 1); }
    int reader() const { return ends[0]; }
};

int drained = 0, calls = 0;

int throws(int fd, int, void* data) {
    calls++;
    throw std::runtime_error("fd " + std::to_string(fd == *static_cast<int*>(data)));
}

int drains(int fd, int events, void*) {
    char byte;
    CHECK(events == ALOOPER_EVENT_INPUT && read(fd, &byte, 1) == 1);
    drained++;
    return 1;
}

void function_throws(void*) { throw 42; }

void counts(void* data) { ++*static_cast<int*>(data); }

// What a poll throws; the empty string if it returns.
template <typename Poll>
std::string caught(Poll poll) {
    try {
        poll(-1, nullptr, nullptr, nullptr);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

}  // namespace

int main() {
    ALooper* looper = ALooper_prepare(ALOOPER_PREPARE_ALLOW_NON_CALLBACKS);
    Pipe thrower, other, told;
    int fd = thrower.reader();
    thrower.fill();
    CHECK(ALooper_addFd(looper, fd, 0, ALOOPER_EVENT_INPUT, throws, &fd) == 1);

    // Again and again: the fd stays watched.
    for (int round = 0; round < 100; round++) CHECK(caught(ALooper_pollOnce) == "fd 1");
    CHECK(caught(ALooper_pollAll) == "fd 1");
    CHECK(calls == 101);
    CHECK(std::uncaught_exceptions() == 0);

    // Beside it, nothing is lost: another callback, an ident, a wake.
    other.fill();
    told.fill();
    CHECK(ALooper_addFd(looper, other.reader(), 0, ALOOPER_EVENT_INPUT, drains, nullptr) == 1);
    CHECK(ALooper_addFd(looper, told.reader(), 7, ALOOPER_EVENT_INPUT, nullptr, nullptr) == 1);
    ALooper_wake(looper);
    CHECK(caught(ALooper_pollOnce) == "fd 1");
    CHECK(ALooper_removeFd(looper, fd) == 1);
    bool was_woken = false, was_told = false;
    for (int turn = 0; turn < 6; turn++) {
        int code = ALooper_pollOnce(0, nullptr, nullptr, nullptr);
        CHECK(code != ALOOPER_POLL_ERROR);
        was_woken |= code == ALOOPER_POLL_WAKE;
        was_told |= code == 7;
    }
    CHECK(drained == 1 && was_woken && was_told);
    CHECK(ALooper_removeFd(looper, told.reader()) == 1);
    CHECK(ALooper_pollOnce(0, nullptr, nullptr, nullptr) == ALOOPER_POLL_TIMEOUT);

    // Two are ready. The first one throws; who catches that empties both, and the second one is not called.
    Pipe second;
    thrower.fill();
    second.fill();
    calls = 0;
    for (Pipe* pipe : {&thrower, &second}) {
        CHECK(ALooper_addFd(looper, pipe->reader(), 0, ALOOPER_EVENT_INPUT, throws, &fd) == 1);
    }
    CHECK(caught(ALooper_pollOnce) != "");
    char bytes[8];
    CHECK(read(thrower.reader(), bytes, sizeof bytes) > 0 && read(second.reader(), bytes, sizeof bytes) > 0);
    CHECK(ALooper_pollOnce(0, nullptr, nullptr, nullptr) == ALOOPER_POLL_TIMEOUT);
    CHECK(calls == 1);

    // A posted function that throws: those behind it run in the next poll.
    int counted = 0;
    CHECK(alooper_post(looper, function_throws, nullptr, nullptr) != 0);
    CHECK(alooper_post(looper, counts, nullptr, &counted) != 0);
    try {
        ALooper_pollOnce(-1, nullptr, nullptr, nullptr);
        CHECK(false);
    } catch (int number) {
        CHECK(number == 42);
    }
    CHECK(ALooper_pollOnce(-1, nullptr, nullptr, nullptr) == ALOOPER_POLL_CALLBACK);
    CHECK(counted == 1);
    CHECK(ALooper_pollOnce(0, nullptr, nullptr, nullptr) == ALOOPER_POLL_TIMEOUT);
    std::printf("thrown %d, drained %d, counted %d\n", calls, drained, counted);
}
