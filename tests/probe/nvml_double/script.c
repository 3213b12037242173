/* Answers by the script in NVML_DOUBLE; `nvml_double.c` says what can be scripted. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answers.h"

static long calls[MAX_GPUS];
static long long began_ns;

const char *setting(const char *key) {
    const char *at = getenv("NVML_DOUBLE");
    size_t length = strlen(key);
    while (at && *at) {
        if (strncmp(at, key, length) == 0 && at[length] == '=') return at + length + 1;
        at = strchr(at, ' ');
        if (at) at++;
    }
    return NULL;
}

long number_setting(const char *key, long otherwise) {
    const char *value = setting(key);
    return value ? strtol(value, NULL, 0) : otherwise;
}

int listed(const char *key, const char *call) {
    const char *at = setting(key);
    size_t length = strlen(call), bare = strcspn(call, "(");
    while (at) {
        if (strncmp(at, call, length) == 0 && strchr(", ", at[length])) return 1;
        if (strncmp(at, call, bare) == 0 && strchr(", ", at[bare])) return 1;
        at += strcspn(at, ", ");
        at = *at == ',' ? at + 1 : NULL;
    }
    return 0;
}

long long now_ns(void) {
    const char *fixed = setting("now_ns");
    struct timespec now;
    if (fixed) return strtoll(fixed, NULL, 10);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int replaying(void) { return setting("replay") != NULL; }

nvmlReturn_t begin(void) {
    char path[512] = "";
    began_ns = now_ns();
    memset(calls, 0, sizeof calls);
    if (!replaying()) return OK;
    strncat(path, setting("replay"), strcspn(setting("replay"), " "));
    return load(path);
}

static int lost(int gpu) {
    const char *said = setting("lost"), *after;
    if (!said || gpu != atoi(said)) return 0;
    after = strchr(said, '@');
    if (!after) return 1;
    if (strncmp(after + 1 + strspn(after + 1, "0123456789"), "ms", 2) == 0)
        return now_ns() - began_ns >= atoll(after + 1) * 1000000ll;
    return calls[gpu] > atol(after + 1);
}

static nvmlReturn_t scripted(nvmlDevice_t device, const char *call) {
    long flaky = number_setting("flaky", 0);
    if (device) calls[device->gpu]++;
    if (device && lost(device->gpu)) return GPU_IS_LOST;
    if (listed("missing", call)) return FUNCTION_NOT_FOUND;
    if (listed("unsupported", call)) return NOT_SUPPORTED;
    if (device && flaky && calls[device->gpu] % flaky == 0) return TIMEOUT;
    return OK;
}

nvmlReturn_t answer(nvmlDevice_t device, const char *call, char *to, unsigned size, const char *format, ...) {
    nvmlReturn_t code;
    const char *said = "";
    va_list values;
    if (replaying()) {
        code = recorded(device ? device->name : "-", call, now_ns() - began_ns, &said);
        snprintf(to, size, "%s", said);
        return code;
    }
    va_start(values, format);
    vsnprintf(to, size, format, values);
    va_end(values);
    return scripted(device, call);
}
