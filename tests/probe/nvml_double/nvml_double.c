/* A stand-in for the NVIDIA driver's libnvidia-ml.so.1, for machines without a GPU.
 *
 * It answers the NVML calls that harness makes, through the real pynvml, with the numbers below. Signatures
 * and error codes are those of NVIDIA's "NVML API Reference"; no NVIDIA header is needed to build it:
 *     cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 nvml_double.c
 *
 * NVML_DOUBLE in the environment scripts it, as words apart by spaces (tests/nvml.py has their defaults):
 *     gpus=2                  how many GPUs there are
 *     power_w=300             of GPU 0; GPU i draws 100 W less for each i
 *     unsupported=Power,Ecc   calls that answer NVML_ERROR_NOT_SUPPORTED
 *     missing=Temperature     calls that answer NVML_ERROR_FUNCTION_NOT_FOUND, as an older driver's would
 *     lost=1@20               GPU 1 is lost after 20 calls that concern it
 *     flaky=3                 every third call on a GPU answers NVML_ERROR_TIMEOUT
 *     mig=1                   MIG is on: utilization is then not supported, as on the real one
 *     reasons=0x24            the mask of active clock event reasons
 *     processes=17,4242       ids of the processes that compute on each GPU
 *     init=9                  nvmlInit answers this error code
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, TIMEOUT = 10,
    FUNCTION_NOT_FOUND = 13, GPU_IS_LOST = 15
};
enum { MAX_GPUS = 16 };

typedef int nvmlReturn_t;
typedef struct device { int index; long calls; } *nvmlDevice_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned version, sensor; int temperature; } nvmlTemperature_t;
typedef struct {
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
} nvmlProcessInfo_t;

static struct device devices[MAX_GPUS];

/* The value of `key=` in NVML_DOUBLE, or NULL. */
static const char *setting(const char *key) {
    const char *at = getenv("NVML_DOUBLE");
    size_t length = strlen(key);
    while (at && *at) {
        if (strncmp(at, key, length) == 0 && at[length] == '=') return at + length + 1;
        at = strchr(at, ' ');
        if (at) at++;
    }
    return NULL;
}

static long number(const char *key, long otherwise) {
    const char *value = setting(key);
    return value ? strtol(value, NULL, 0) : otherwise;
}

/* Whether the comma-separated list `key=` names `call`. */
static int listed(const char *key, const char *call) {
    const char *at = setting(key);
    size_t length = strlen(call);
    while (at) {
        if (strncmp(at, call, length) == 0 && strchr(", ", at[length])) return 1;
        at += strcspn(at, ", ");
        at = *at == ',' ? at + 1 : NULL;
    }
    return 0;
}

static nvmlReturn_t called(nvmlDevice_t device, const char *call) {
    const char *lost = setting("lost");
    long flaky = number("flaky", 0);
    device->calls++;
    if (lost && device->index == atoi(lost)) {
        const char *after = strchr(lost, '@');
        if (device->calls > (after ? atol(after + 1) : 0)) return GPU_IS_LOST;
    }
    if (listed("missing", call)) return FUNCTION_NOT_FOUND;
    if (listed("unsupported", call)) return NOT_SUPPORTED;
    if (flaky && device->calls % flaky == 0) return TIMEOUT;
    return OK;
}

#define ANSWER(call) do { nvmlReturn_t code_ = called(device, call); if (code_) return code_; } while (0)

static unsigned power_mw(nvmlDevice_t device) {
    return (unsigned)(number("power_w", 300) - 100 * device->index) * 1000u;
}

static nvmlReturn_t text(char *to, unsigned size, const char *from) {
    if (strlen(from) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return OK;
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    for (int i = 0; i < MAX_GPUS; i++) devices[i] = (struct device){i, 0};
    return (nvmlReturn_t)number("init", OK);
}

nvmlReturn_t nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(nvmlReturn_t code) {
    (void)code;
    return "an error of the double";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned size) { return text(version, size, "999.42"); }

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    *version = 13010;
    return OK;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)number("gpus", 1);
    return OK;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (index >= (unsigned)number("gpus", 1) || index >= MAX_GPUS) return INVALID_ARGUMENT;
    *device = &devices[index];
    return called(*device, "Handle");
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned size) {
    ANSWER("Name");
    return text(name, size, "NVIDIA Double 80GB");
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned size) {
    char own[64];
    ANSWER("UUID");
    snprintf(own, sizeof own, "GPU-00000000-0000-0000-0000-%012d", device->index);
    return text(uuid, size, own);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    ANSWER("Utilization");
    if (number("mig", 0)) return NOT_SUPPORTED;
    *rates = (nvmlUtilization_t){75, 40};
    return OK;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    const unsigned long long gib = 1ull << 30;
    ANSWER("Memory");
    memory->total = 80 * gib;
    memory->used = (10 + (unsigned)device->index) * gib;
    memory->free = memory->total - memory->used;
    return OK;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts) {
    ANSWER("Power");
    *milliwatts = power_mw(device);
    return OK;
}

/* Linear in CLOCK_MONOTONIC, so that the growth over a time is the power times that time. */
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *millijoules) {
    struct timespec now;
    ANSWER("Energy");
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = (unsigned long long)((now.tv_sec + now.tv_nsec / 1e9) * power_mw(device));
    return OK;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned sensor, unsigned *celsius) {
    (void)sensor;
    ANSWER("Temperature");
    *celsius = 60u + (unsigned)device->index;
    return OK;
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *temperature) {
    ANSWER("TemperatureV");
    temperature->temperature = 60 + device->index;
    return OK;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned clock, unsigned *megahertz) {
    ANSWER("Clock");
    *megahertz = clock == 1 ? 1500 : 2600; /* NVML_CLOCK_SM, and the memory's */
    return OK;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *mask) {
    ANSWER("ClocksEventReasons");
    *mask = (unsigned long long)number("reasons", 0x4);
    return OK;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *mask) {
    ANSWER("ClocksThrottleReasons");
    *mask = (unsigned long long)number("reasons", 0x4);
    return OK;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(
    nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *processes) {
    const char *at = setting("processes");
    unsigned room = *count;
    ANSWER("Processes");
    for (*count = 0; at && *at && *at != ' '; (*count)++) {
        char *end;
        unsigned pid = (unsigned)strtoul(at, &end, 10);
        if (processes && *count < room) processes[*count] = (nvmlProcessInfo_t){pid, 1u << 30, ~0u, ~0u};
        at = *end == ',' ? end + 1 : end;
    }
    return *count > room ? INSUFFICIENT_SIZE : OK;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *milliwatts) {
    ANSWER("PowerLimit");
    *milliwatts = 700000;
    return OK;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, unsigned *on) {
    ANSWER("Persistence");
    *on = 1;
    return OK;
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    ANSWER("Ecc");
    *current = *pending = 1;
    return OK;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    ANSWER("Mig");
    *current = *pending = (unsigned)number("mig", 0);
    return OK;
}
