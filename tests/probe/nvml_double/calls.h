/* What the files with NVML's calls share. */
#ifndef CALLS_H
#define CALLS_H

#include "answers.h"

/* What was answered last, and the numbers in it. */
extern char said[65536];
double spoken(int index);

#define SAY(device, call, ...) answer(device, call, said, sizeof said, __VA_ARGS__)

/* A call with one number as its answer. */
#define NUMBER(function, call, type, ...)                     \
    nvmlReturn_t function(nvmlDevice_t device, type *to) {    \
        nvmlReturn_t code = SAY(device, call, __VA_ARGS__);   \
        if (code == OK) *to = (type)spoken(0);                \
        return code;                                          \
    }

/* The same with an argument, which stands in the call's name. */
#define NUMBER_OF(function, call, type, ...)                               \
    nvmlReturn_t function(nvmlDevice_t device, unsigned of, type *to) {    \
        char name[80];                                                     \
        nvmlReturn_t code;                                                 \
        snprintf(name, sizeof name, call "(%u)", of);                      \
        code = SAY(device, name, __VA_ARGS__);                             \
        if (code == OK) *to = (type)spoken(0);                             \
        return code;                                                       \
    }

/* Two numbers. */
#define NUMBERS(function, call, type, ...)                                         \
    nvmlReturn_t function(nvmlDevice_t device, type *first, type *second) {        \
        nvmlReturn_t code = SAY(device, call, __VA_ARGS__);                        \
        if (code == OK) *first = (type)spoken(0), *second = (type)spoken(1);       \
        return code;                                                               \
    }

int mig_on(void);

/* 0 to 999 through each second, if the script wants values that vary. */
double phase_at(long long ns);

static const double GIB = 1073741824.0;

#endif
