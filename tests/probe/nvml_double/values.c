/* What a GPU does: the calls behind a reading, but for GPM. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned version, sensor; int temperature; } nvmlTemperature_t;
typedef struct {
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
} nvmlProcessInfo_t;
typedef struct {
    unsigned field, scope;
    int64_t timestamp, latency;
    int type; /* 1 unsigned int, 3 unsigned long long */
    nvmlReturn_t code;
    union { unsigned ui; unsigned long long ull; } value;
} nvmlFieldValue_t;

enum { POWER_INSTANT = 186 };

static double phase(void) { return phase_at(now_ns()); }

static double steady_mw(nvmlDevice_t device) {
    return (double)(number_setting("power_w", 300) - 100 * device->gpu) * 1000;
}

static double power_mw(nvmlDevice_t device) { return steady_mw(device) + 100 * phase(); }

/* Linear in time, so that the growth over a time is the power times that time. */
NUMBER(nvmlDeviceGetTotalEnergyConsumption, "nvmlDeviceGetTotalEnergyConsumption", unsigned long long, "%.0f",
       (double)now_ns() / 1e9 * steady_mw(device))
NUMBER(nvmlDeviceGetPowerUsage, "nvmlDeviceGetPowerUsage", unsigned, "%.0f", power_mw(device) + 5000)
NUMBER_OF(nvmlDeviceGetClockInfo, "nvmlDeviceGetClockInfo", unsigned, "%.0f",
          of == 1 ? 1500 + (double)(int)(phase() / 10) : 2600)
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, "nvmlDeviceGetCurrentClocksEventReasons", unsigned long long,
       "%ld", number_setting("reasons", 0x4))
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, "nvmlDeviceGetCurrentClocksThrottleReasons",
       unsigned long long, "%ld", number_setting("reasons", 0x4))
NUMBER_OF(nvmlDeviceGetTemperature, "nvmlDeviceGetTemperature", unsigned, "%d", 60 + device->gpu)

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *temperature) {
    char name[80];
    nvmlReturn_t code;
    snprintf(name, sizeof name, "nvmlDeviceGetTemperatureV(%u)", temperature->sensor);
    code = SAY(device, name, "%d", 60 + device->gpu);
    temperature->temperature = (int)spoken(0);
    return code;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    nvmlReturn_t code = SAY(device, "nvmlDeviceGetUtilizationRates", "%d 40", 75 + (int)(phase() / 100));
    if (code == OK && !replaying() && mig_on()) return NOT_SUPPORTED;
    *rates = (nvmlUtilization_t){(unsigned)spoken(0), (unsigned)spoken(1)};
    return code;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(
    nvmlDevice_t device, unsigned type, unsigned counter, unsigned long long *errors) {
    char name[80];
    nvmlReturn_t code;
    snprintf(name, sizeof name, "nvmlDeviceGetTotalEccErrors(%u,%u)", type, counter);
    code = SAY(device, name, "%d", type == 1 && counter == 0 ? 2 : 9);
    if (code == OK) *errors = (unsigned long long)spoken(0);
    return code;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    for (int i = 0; i < count; i++) {
        char name[80];
        snprintf(name, sizeof name, "nvmlDeviceGetFieldValues(%u)", values[i].field);
        values[i].type = 1;
        values[i].code = SAY(device, name, "%.0f", power_mw(device));
        if (!replaying() && values[i].field != POWER_INSTANT) values[i].code = NOT_SUPPORTED;
        values[i].value.ui = (unsigned)spoken(0);
        if (values[i].code == GPU_IS_LOST || values[i].code == FUNCTION_NOT_FOUND) return values[i].code;
    }
    return OK;
}

/* The ids that `key=` lists, or of these a MIG device's: every mig-th. */
static void list_processes(nvmlDevice_t device, const char *key, char *to, size_t size) {
    const char *at = setting(key);
    long of = number_setting("mig", 0);
    *to = 0;
    for (int i = 0; at && *at && *at != ' '; i++) {
        char *end;
        unsigned pid = (unsigned)strtoul(at, &end, 10);
        size_t length = strlen(to);
        int dealt = (int)((device->mig + 2) * 2 / 3 - 1); /* the first, second ... of the MIG devices there are */
        if (device->mig < 0 || i % of == dealt)
            snprintf(to + length, size - length, "%s%u:%.0f", length ? " " : "", pid, GIB);
        at = *end == ',' ? end + 1 : end;
    }
}

static nvmlReturn_t running(
    nvmlDevice_t device, const char *call, const char *key, unsigned *count, nvmlProcessInfo_t *processes) {
    char ids[16384];
    unsigned room = *count;
    nvmlReturn_t code;
    list_processes(device, key, ids, sizeof ids);
    code = SAY(device, call, "%s", ids);
    if (code != OK) return code;
    *count = 0;
    for (char *at = said; *at; (*count)++) {
        unsigned pid = (unsigned)strtoul(at, &at, 10);
        unsigned long long used = *++at == '-' ? (at++, ~0ull) : strtoull(at, &at, 10);
        if (processes && *count < room) processes[*count] = (nvmlProcessInfo_t){pid, used, ~0u, ~0u};
        if (*at == ' ') at++;
    }
    return *count > room ? INSUFFICIENT_SIZE : OK;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(
    nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *processes) {
    return running(device, "nvmlDeviceGetComputeRunningProcesses_v3", "processes", count, processes);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(
    nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *processes) {
    return running(device, "nvmlDeviceGetGraphicsRunningProcesses_v3", "graphics", count, processes);
}
