/* NVML's GPU Performance Monitoring. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

typedef struct { nvmlDevice_t gpu; int instance; long long at_ns; } *nvmlGpmSample_t; /* instance -1: the GPU */
typedef struct { unsigned id; nvmlReturn_t code; double value; const char *names[3]; } nvmlGpmMetric_t;
typedef struct {
    unsigned version, count;
    nvmlGpmSample_t first, second;
    nvmlGpmMetric_t metrics[];
} nvmlGpmMetricsGet_t;
typedef struct { unsigned version, supported; } nvmlGpmSupport_t;


nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *support) {
    nvmlReturn_t code = SAY(device, "nvmlGpmQueryDeviceSupport", "1 %ld", number_setting("gpm", 1));
    support->supported = (unsigned)spoken(1);
    return code;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample) {
    *sample = calloc(1, sizeof **sample);
    return SAY(NULL, "nvmlGpmSampleAlloc", "%s", "");
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample) {
    free(sample);
    return OK;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample) {
    nvmlReturn_t code = SAY(device, "nvmlGpmSampleGet", "%s", "");
    if (code == OK && !replaying() && mig_on()) return NOT_SUPPORTED;
    sample->gpu = device, sample->instance = -1, sample->at_ns = now_ns();
    return code;
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t device, unsigned instance, nvmlGpmSample_t sample) {
    char name[80];
    snprintf(name, sizeof name, "nvmlGpmMigSampleGet(%u)", instance);
    sample->gpu = device, sample->instance = (int)instance, sample->at_ns = now_ns();
    return SAY(device, name, "%s", "");
}

/* Scripted metrics, as they stand in a recording. The real library computes nonsense from samples that are less than
 * 100 ms apart; here they have no data. */
static void metrics_of(const nvmlGpmMetricsGet_t *request, char *to, size_t size) {
    const struct { unsigned id; double value; } known[] = {
        {2, request->first->instance < 0 ? 62.5 : 20 + request->first->instance}, {3, 25}, {5, 12.5}, {10, 37.5},
        {20, 100}, {21, 200.5},
    };
    long long from = request->first->at_ns, to_ns = request->second->at_ns;
    double grown = phase_at(from + (to_ns - from) / 2) / 50; /* as of a mean of what grows steadily */
    int usable = to_ns - from > 100000000;
    *to = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char name[40];
        size_t length = strlen(to);
        nvmlReturn_t code = usable ? OK : NO_DATA;
        snprintf(name, sizeof name, "nvmlGpmMetric(%u)", known[i].id);
        if (listed("unsupported", name)) code = NOT_SUPPORTED;
        if (known[i].id >= 20 && request->first->instance >= 0) code = NOT_SUPPORTED;
        snprintf(to + length, size - length, "%s%u:%d:%.17g", length ? " " : "", known[i].id, code,
                 code == OK ? known[i].value + (known[i].id == 2 ? grown : 0) : 0.0);
    }
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *request) {
    char name[80] = "nvmlGpmMetricsGet", metrics[4096] = "";
    nvmlReturn_t code;
    if (request->version != 1 || request->first->gpu != request->second->gpu) return INVALID_ARGUMENT;
    if (request->first->instance >= 0)
        snprintf(name, sizeof name, "nvmlGpmMetricsGet(%d)", request->first->instance);
    if (!replaying()) metrics_of(request, metrics, sizeof metrics);
    code = SAY(request->first->gpu, name, "%s", metrics);
    for (unsigned i = 0; code == OK && i < request->count; i++) {
        unsigned id;
        int used;
        nvmlGpmMetric_t *metric = &request->metrics[i], found = *metric;
        metric->code = NOT_SUPPORTED;
        for (char *at = said; sscanf(at, "%u:%d:%lf%n", &id, &found.code, &found.value, &used) == 3;) {
            if (id == metric->id) metric->code = found.code, metric->value = found.value;
            at += used;
        }
    }
    return code;
}
