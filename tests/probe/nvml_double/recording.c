/* Answers from a recording; harness/probe/nvidia/recording.py says what stands in one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"

static const char HEADER[] = "harness NVML recording 1";

/* What each call answers: n a number, t a text, p processes, m metrics. */
static const struct { const char *call, *shape; } SHAPES[] = {
    {"nvmlInit", ""}, {"nvmlSystemGetDriverVersion", "t"}, {"nvmlSystemGetCudaDriverVersion", "n"},
    {"nvmlDeviceGetCount", "n"}, {"nvmlDeviceGetHandleByIndex", ""}, {"nvmlDeviceGetName", "t"},
    {"nvmlDeviceGetUUID", "t"}, {"nvmlDeviceGetMemoryInfo", "nnn"}, {"nvmlDeviceGetEnforcedPowerLimit", "n"},
    {"nvmlDeviceGetPersistenceMode", "n"}, {"nvmlDeviceGetEccMode", "nn"}, {"nvmlDeviceGetMigMode", "nn"},
    {"nvmlDeviceGetCudaComputeCapability", "nn"}, {"nvmlDeviceGetVbiosVersion", "t"},
    {"nvmlDeviceGetPowerManagementDefaultLimit", "n"}, {"nvmlDeviceGetMaxClockInfo", "n"},
    {"nvmlDeviceGetApplicationsClock", "n"}, {"nvmlDeviceGetDefaultApplicationsClock", "n"},
    {"nvmlDeviceGetComputeMode", "n"}, {"nvmlDeviceGetCurrPcieLinkGeneration", "n"},
    {"nvmlDeviceGetCurrPcieLinkWidth", "n"}, {"nvmlDeviceGetMaxPcieLinkGeneration", "n"},
    {"nvmlDeviceGetMaxPcieLinkWidth", "n"}, {"nvmlDeviceGetTotalEnergyConsumption", "n"},
    {"nvmlDeviceGetFieldValues", "n"}, {"nvmlDeviceGetPowerUsage", "n"}, {"nvmlDeviceGetClockInfo", "n"},
    {"nvmlDeviceGetCurrentClocksEventReasons", "n"}, {"nvmlDeviceGetCurrentClocksThrottleReasons", "n"},
    {"nvmlDeviceGetUtilizationRates", "nn"}, {"nvmlDeviceGetTemperature", "n"},
    {"nvmlDeviceGetTemperatureV", "n"}, {"nvmlDeviceGetTotalEccErrors", "n"},
    {"nvmlDeviceGetComputeRunningProcesses_v3", "p"}, {"nvmlDeviceGetGraphicsRunningProcesses_v3", "p"},
    {"nvmlDeviceGetMaxMigDeviceCount", "n"}, {"nvmlDeviceGetMigDeviceHandleByIndex", ""},
    {"nvmlDeviceGetGpuInstanceId", "n"}, {"nvmlGpmQueryDeviceSupport", "nn"}, {"nvmlGpmSampleAlloc", ""},
    {"nvmlGpmSampleGet", ""}, {"nvmlGpmMigSampleGet", ""}, {"nvmlGpmMetricsGet", "m"},
};

struct line { long long at_ns; nvmlReturn_t code; char *answer; };
struct series { char device[16], call[80]; struct line *lines; int count; };

static struct series *all;
static int series_count;
char refusal[512];

static void forget(void) {
    for (int i = 0; i < series_count; i++) {
        for (int j = 0; j < all[i].count; j++) free(all[i].lines[j].answer);
        free(all[i].lines);
    }
    free(all);
    all = NULL;
    series_count = 0;
}

/* A code of its own each time: pynvml asks only once what a code means. */
static nvmlReturn_t refused(void) {
    static int times;
    return RECORDING_REFUSED + times++;
}

static struct series *series_of(const char *device, const char *call) {
    for (int i = 0; i < series_count; i++)
        if (strcmp(all[i].device, device) == 0 && strcmp(all[i].call, call) == 0) return &all[i];
    return NULL;
}

static int has_shape(const char *call, const char *answer) {
    const char *shape = NULL;
    char *end;
    size_t bare = strcspn(call, "(");
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        if (strlen(SHAPES[i].call) == bare && strncmp(SHAPES[i].call, call, bare) == 0) shape = SHAPES[i].shape;
    if (!shape) return 0;
    if (*shape == 't') return *answer != 0;
    for (; *shape == 'n'; shape++, answer = end + (*end == ' ')) {
        strtod(answer, &end);
        if (end == answer || !strchr(" ", *end)) return 0;
    }
    while (*answer && *shape) {
        int used = 0;
        unsigned first;
        int code;
        double value;
        if (*shape == 'm' && sscanf(answer, "%u:%d:%lf%n", &first, &code, &value, &used) != 3) return 0;
        if (*shape == 'p' && sscanf(answer, "%u:-%n", &first, &used) == 1 && used) answer += used;
        else if (*shape == 'p' && sscanf(answer, "%u:%lf%n", &first, &value, &used) == 2) answer += used;
        else if (*shape == 'p') return 0;
        else answer += used;
        if (!strchr(" ", *answer)) return 0;
        answer += *answer == ' ';
    }
    return *answer == 0;
}

static int is_device(const char *name) {
    size_t digits = strspn(name, "0123456789");
    if (strcmp(name, "-") == 0) return 1;
    if (digits && !name[digits]) return 1;
    return digits && name[digits] == '/' && name[digits + 1] &&
           strspn(name + digits + 1, "0123456789") == strlen(name + digits + 1);
}

/* 1 for a line that was kept, 2 for the last one, 0 for one that is broken. */
static int keep(char *text, long long *at_ns) {
    char device[16], call[80];
    int code, used = 0;
    long long now;
    struct series *series;
    if (sscanf(text, "%lld end%n", &now, &used) == 1 && used && !text[used]) return now >= *at_ns ? 2 : 0;
    if (sscanf(text, "%lld %15s %79s %d%n", &now, device, call, &code, &used) != 4) return 0;
    if (now < *at_ns || !is_device(device) || !strchr(" ", text[used])) return 0;
    text += used + (text[used] == ' ');
    if (!has_shape(call, code == OK ? text : "") && code == OK) return 0;
    if (code != OK && *text) return 0;
    *at_ns = now;
    series = series_of(device, call);
    if (!series) {
        all = realloc(all, (size_t)(series_count + 1) * sizeof *all);
        series = &all[series_count++];
        memset(series, 0, sizeof *series);
        strcpy(series->device, device);
        strcpy(series->call, call);
    }
    series->lines = realloc(series->lines, (size_t)(series->count + 1) * sizeof *series->lines);
    series->lines[series->count++] = (struct line){now, code, strdup(text)};
    return 1;
}

nvmlReturn_t load(const char *path) {
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;
    long long at_ns = 0;
    int number = 0, kept = 1;
    forget();
    if (!file) {
        snprintf(refusal, sizeof refusal, "the recording %s can't be read: %s", path, strerror(errno));
        return refused();
    }
    while (kept == 1 && getline(&text, &room, file) > 0) {
        size_t length = strlen(text);
        number++;
        kept = 0;
        if (text[length - 1] != '\n') break;
        text[length - 1] = 0;
        kept = number == 1 ? strcmp(text, HEADER) == 0 : keep(text, &at_ns);
    }
    if (kept == 2 && fgetc(file) != EOF) kept = 0, number++;
    free(text);
    fclose(file);
    if (kept == 2) return OK;
    if (kept == 0)
        snprintf(refusal, sizeof refusal, "the recording %s is broken in line %d: record it anew", path, number);
    else
        snprintf(refusal, sizeof refusal, "the recording %s ends before its last line: record it anew", path);
    return refused();
}

/* The last answer up to `at_ns`, the first one before that; a call that isn't there is not supported. */
nvmlReturn_t recorded(const char *device, const char *call, long long at_ns, const char **said) {
    const struct series *series = series_of(device, call);
    int from = 0, to;
    if (!series) return NOT_SUPPORTED;
    for (to = series->count; to - from > 1;) {
        int middle = (from + to) / 2;
        if (series->lines[middle].at_ns <= at_ns) from = middle;
        else to = middle;
    }
    *said = series->lines[from].answer;
    return series->lines[from].code;
}
