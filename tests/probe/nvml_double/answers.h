/* What the double answers, as text: from a script or from a recording. */
#ifndef ANSWERS_H
#define ANSWERS_H

enum {
    OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10,
    FUNCTION_NOT_FOUND = 13, GPU_IS_LOST = 15, NO_DATA = 21, RECORDING_REFUSED = 1000
};
enum { MAX_GPUS = 16, MAX_MIG = 7 };

typedef int nvmlReturn_t;
typedef struct device { int gpu, mig; char name[16]; } *nvmlDevice_t; /* mig is -1 for the whole GPU */

/* The value of `key=` in NVML_DOUBLE, or NULL; read anew each time, so a test may change it as it goes. */
const char *setting(const char *key);
long number_setting(const char *key, long otherwise);
/* Whether the comma-separated list `key=` has `call`, or its name without what it has in brackets. */
int listed(const char *key, const char *call);

/* `now_ns=` in the script, or CLOCK_MONOTONIC. */
long long now_ns(void);

/* Starts the script's counts, or the recording's clock, anew: OK, or RECORDING_REFUSED or above, with `refusal`. */
nvmlReturn_t begin(void);
extern char refusal[512];
int replaying(void);

/* The answer to one call, as it stands in a recording; `device` is NULL for the driver itself. With a code other
 * than OK there is none. Scripted, it is what `format` makes. */
nvmlReturn_t answer(nvmlDevice_t device, const char *call, char *to, unsigned size, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* recording.c */
nvmlReturn_t load(const char *path);
nvmlReturn_t recorded(const char *device, const char *call, long long at_ns, const char **said);

#endif
