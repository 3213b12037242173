/* A stand-in for the NVIDIA driver's libnvidia-ml.so.1, for machines without a GPU.
 *
 * It answers the NVML calls that harness makes, through the real pynvml, with the numbers below or with those of a
 * recording. Signatures and error codes are those of NVIDIA's "NVML API Reference"; no NVIDIA header is needed:
 *     cc -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 *.c
 *
 * NVML_DOUBLE in the environment scripts it, as words apart by spaces (tests/nvml.py has their defaults):
 *     gpus=2                  how many GPUs there are
 *     power_w=300             of GPU 0; GPU i draws 100 W less for each i
 *     varying=1               power, clock, utilization and SM activity grow through each second
 *     unsupported=CALL,...    calls that answer NVML_ERROR_NOT_SUPPORTED, by the names that pynvml gives them; with
 *                             one argument in brackets only that: nvmlDeviceGetClockInfo(2), nvmlGpmMetric(5)
 *     missing=CALL,...        calls that answer NVML_ERROR_FUNCTION_NOT_FOUND, as an older driver's would
 *     lost=1@20               GPU 1 is lost after 20 calls that concern it; 1@500ms: half a second after nvmlInit
 *     flaky=3                 every third call on a GPU answers NVML_ERROR_TIMEOUT
 *     mig=2                   MIG is on, with two MIG devices a GPU; the GPU has no utilization, as the real one
 *     gpm=0                   no GPM, as before Hopper
 *     reasons=0x24            the mask of active clock event reasons
 *     processes=17,4242       ids of the processes that compute on each GPU, dealt out to its MIG devices
 *     graphics=99             ids of processes with a graphics context
 *     init=9                  nvmlInit answers this error code
 *     now_ns=5000000000       the time, in place of the clock's
 *     replay=FILE             the answers of a recording at its times, the first nvmlInit being its beginning;
 *                             after its end the last ones stay. Of the words above only now_ns counts then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

typedef struct { unsigned long long total, free, used; } nvmlMemory_t;

enum { GPU_INSTANCE = 3 }; /* id of a GPU's first */

static struct device gpus[MAX_GPUS], migs[MAX_GPUS][MAX_MIG];
char said[65536];

double spoken(int index) {
    char *at = said;
    double number = strtod(at, &at);
    while (index-- > 0) number = strtod(at, &at);
    return number;
}

static nvmlReturn_t text(nvmlReturn_t code, char *to, unsigned size) {
    if (code == OK && strlen(said) >= size) return INSUFFICIENT_SIZE;
    if (code == OK) strcpy(to, said);
    return code;
}

double phase_at(long long ns) { return number_setting("varying", 0) ? (double)(ns / 1000000 % 1000) : 0; }

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    nvmlReturn_t code = begin();
    (void)flags;
    for (int i = 0; i < MAX_GPUS; i++) {
        gpus[i] = (struct device){i, -1, ""};
        snprintf(gpus[i].name, sizeof gpus[i].name, "%d", i);
        for (int j = 0; j < MAX_MIG; j++) {
            migs[i][j] = (struct device){i, j, ""};
            snprintf(migs[i][j].name, sizeof migs[i][j].name, "%d/%d", i, j);
        }
    }
    if (code != OK) return code;
    if (replaying()) return SAY(NULL, "nvmlInit", "%s", "");
    return (nvmlReturn_t)number_setting("init", OK);
}

nvmlReturn_t nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(nvmlReturn_t code) {
    return code >= RECORDING_REFUSED ? refusal : "an error of the double";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned size) {
    return text(SAY(NULL, "nvmlSystemGetDriverVersion", "999.42"), version, size);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    nvmlReturn_t code = SAY(NULL, "nvmlSystemGetCudaDriverVersion", "13010");
    *version = (int)spoken(0);
    return code;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    nvmlReturn_t code = SAY(NULL, "nvmlDeviceGetCount", "%ld", number_setting("gpus", 1));
    *count = (unsigned)spoken(0);
    return code;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    if (index >= MAX_GPUS || (!replaying() && index >= (unsigned)number_setting("gpus", 1)))
        return INVALID_ARGUMENT;
    *device = &gpus[index];
    return SAY(*device, "nvmlDeviceGetHandleByIndex", "%s", "");
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned size) {
    const char *share = device->mig < 0 ? "" : " MIG 1g.10gb";
    return text(SAY(device, "nvmlDeviceGetName", "NVIDIA Double 80GB%s", share), name, size);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned size) {
    const char *kind = device->mig < 0 ? "GPU" : "MIG";
    int number = device->gpu + (device->mig < 0 ? 0 : 100 * (device->mig + 1));
    return text(SAY(device, "nvmlDeviceGetUUID", "%s-00000000-0000-0000-0000-%012d", kind, number), uuid, size);
}

nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char *version, unsigned size) {
    return text(SAY(device, "nvmlDeviceGetVbiosVersion", "96.00.99.00.01"), version, size);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    double total = device->mig < 0 ? 80 * GIB : 10 * GIB;
    double used = device->mig < 0 ? (10 + device->gpu) * GIB : (1 + device->mig) * GIB;
    nvmlReturn_t code = SAY(device, "nvmlDeviceGetMemoryInfo", "%.0f %.0f %.0f", total, total - used, used);
    if (code == OK) {
        memory->total = (unsigned long long)spoken(0);
        memory->free = (unsigned long long)spoken(1);
        memory->used = (unsigned long long)spoken(2);
    }
    return code;
}

NUMBER(nvmlDeviceGetEnforcedPowerLimit, "nvmlDeviceGetEnforcedPowerLimit", unsigned, "700000")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, "nvmlDeviceGetPowerManagementDefaultLimit", unsigned, "650000")
NUMBER(nvmlDeviceGetPersistenceMode, "nvmlDeviceGetPersistenceMode", unsigned, "1")
NUMBER(nvmlDeviceGetComputeMode, "nvmlDeviceGetComputeMode", unsigned, "3")
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, "nvmlDeviceGetCurrPcieLinkGeneration", unsigned, "4")
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, "nvmlDeviceGetCurrPcieLinkWidth", unsigned, "8")
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, "nvmlDeviceGetMaxPcieLinkGeneration", unsigned, "5")
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, "nvmlDeviceGetMaxPcieLinkWidth", unsigned, "16")
NUMBERS(nvmlDeviceGetEccMode, "nvmlDeviceGetEccMode", unsigned, "1 1")
NUMBERS(nvmlDeviceGetCudaComputeCapability, "nvmlDeviceGetCudaComputeCapability", int, "9 0")
NUMBER_OF(nvmlDeviceGetMaxClockInfo, "nvmlDeviceGetMaxClockInfo", unsigned, "%d", of == 1 ? 1980 : 3201)
NUMBER_OF(nvmlDeviceGetApplicationsClock, "nvmlDeviceGetApplicationsClock", unsigned, "%d", of == 1 ? 1800 : 3200)
NUMBER_OF(nvmlDeviceGetDefaultApplicationsClock, "nvmlDeviceGetDefaultApplicationsClock", unsigned, "%d",
          of == 1 ? 1830 : 3199)

int mig_on(void) { return number_setting("mig", 0) > 0; }

NUMBERS(nvmlDeviceGetMigMode, "nvmlDeviceGetMigMode", unsigned, "%d %d", mig_on(), mig_on())
NUMBER(nvmlDeviceGetMaxMigDeviceCount, "nvmlDeviceGetMaxMigDeviceCount", unsigned, "%d", MAX_MIG)
NUMBER(nvmlDeviceGetGpuInstanceId, "nvmlDeviceGetGpuInstanceId", unsigned, "%d", GPU_INSTANCE + device->mig)

/* Two of three indices have a device, so that there is a gap, as there may be on the real one. */
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t gpu, unsigned index, nvmlDevice_t *device) {
    nvmlReturn_t code;
    if (index >= MAX_MIG) return INVALID_ARGUMENT;
    *device = &migs[gpu->gpu][index];
    code = SAY(*device, "nvmlDeviceGetMigDeviceHandleByIndex", "%s", "");
    if (code != OK || replaying()) return code;
    return index % 3 != 1 && (long)(index + 2) * 2 / 3 <= number_setting("mig", 0) ? OK : NOT_FOUND;
}
