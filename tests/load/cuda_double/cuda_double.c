/* A double for libcuda.so.1: the calls of harness/load/shared_memory/cuda_driver.py, with host memory in the GPU's place.
 *
 * An allocation is a file in /dev/shm, and its IPC handle holds the file's name, so that another process can
 * open it, as Triton does a GPU's. The addresses given out are none of this process's, as a GPU's aren't: who
 * follows one dies. What is copied to the GPU only arrives with cuCtxSynchronize, as the driver's documentation
 * allows for pageable memory.
 *
 * CUDA_DOUBLE is a list of words, read anew at each call:
 *   gpus=N             how many there are (1)
 *   fastest=A,B,...    the GPUs in the order that CUDA counts them in without CUDA_DEVICE_ORDER=PCI_BUS_ID
 *   memory=BYTES       of each GPU (1 GiB)
 *   fail=CALL:CODE     that call fails with that CUresult; CALL@N: from the N-th call of the process on
 *   log=FILE           a line for each call that takes or gives back: "retain GPU", "release GPU",
 *                      "alloc ADDRESS BYTES", "free ADDRESS", "copy ADDRESS BYTES"
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct { int gpu; } *CUcontext;
typedef struct { char reserved[64]; } CUipcMemHandle;

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100,
       INVALID_DEVICE = 101, INVALID_CONTEXT = 201};
enum { GPUS = 8, ALLOCATIONS = 64, DEPTH = 8, STAGED = 4096 };

struct allocation { CUdeviceptr address; size_t size; char *memory; char name[48]; int gpu; };
struct staged { char *to, *data; size_t size; };

static struct allocation allocations[ALLOCATIONS];
static struct staged staged[STAGED];
static int staged_count, made, initialized, by_bus;
static struct { int gpu; } contexts[GPUS];
static int retained[GPUS];
static CUcontext stack[DEPTH];
static int depth;

/* What stands after NAME= in CUDA_DOUBLE, up to the next blank; NULL where it isn't there. */
static const char *word(const char *name, char *out, size_t room) {
    const char *script = getenv("CUDA_DOUBLE");
    size_t length = strlen(name);
    for (const char *at = script ? script : ""; *at;) {
        size_t size = strcspn(at, " ");
        if (size > length && !strncmp(at, name, length) && at[length] == '=') {
            snprintf(out, room, "%.*s", (int)(size - length - 1), at + length + 1);
            return out;
        }
        at += size + strspn(at + size, " ");
    }
    return NULL;
}

static long long number(const char *name, long long otherwise) {
    char text[64];
    return word(name, text, sizeof text) ? atoll(text) : otherwise;
}

static void say(const char *format, ...) {
    char path[512];
    if (!word("log", path, sizeof path)) return;
    FILE *log = fopen(path, "a");
    va_list values;
    va_start(values, format);
    vfprintf(log, format, values);
    va_end(values);
    fclose(log);
}

/* The code that this call is to fail with, 0 for none. `*calls` is how often it was called. */
static CUresult scripted(const char *call, int *calls) {
    char text[128], name[64];
    int from = 1, code = 0;
    ++*calls;
    if (!word("fail", text, sizeof text)) return OK;
    if (sscanf(text, "%63[^@:]@%d:%d", name, &from, &code) != 3) {
        from = 1;
        if (sscanf(text, "%63[^@:]:%d", name, &code) != 2) abort();
    }
    return !strcmp(name, call) && *calls >= from ? code : OK;
}

#define CALL \
    do { \
        static int calls; \
        CUresult code = scripted(__func__, &calls); \
        if (code) return code; \
        if (!initialized) return NOT_INITIALIZED; \
    } while (0)

#define IN_CONTEXT \
    do { \
        if (!depth || !retained[stack[depth - 1]->gpu]) return INVALID_CONTEXT; \
    } while (0)

static struct allocation *holding(CUdeviceptr address, size_t size) {
    for (int i = 0; i < ALLOCATIONS; i++) {
        struct allocation *a = &allocations[i];
        if (a->size && address >= a->address && address + size <= a->address + a->size) return a;
    }
    return NULL;
}

static void arrive(void) {
    for (int i = 0; i < staged_count; i++) {
        memcpy(staged[i].to, staged[i].data, staged[i].size);
        free(staged[i].data);
    }
    staged_count = 0;
}

static int fastest(int ordinal) {
    char text[64];
    if (!word("fastest", text, sizeof text)) return ordinal;
    const char *at = text;
    for (int i = 0; i < ordinal; i++) at = strchr(at, ',') + 1;
    return atoi(at);
}

CUresult cuInit(unsigned flags) {
    initialized = 1;
    CALL;
    const char *order = getenv("CUDA_DEVICE_ORDER");
    by_bus = order && !strcmp(order, "PCI_BUS_ID");
    if (flags) return INVALID_VALUE;
    return number("gpus", 1) ? OK : NO_DEVICE;
}

CUresult cuDeviceGetCount(int *count) {
    CALL;
    *count = (int)number("gpus", 1);
    return OK;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    CALL;
    if (ordinal < 0 || ordinal >= number("gpus", 1)) return INVALID_DEVICE;
    *device = by_bus ? ordinal : fastest(ordinal);
    return OK;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    CALL;
    contexts[device].gpu = device;
    retained[device]++;
    *context = (CUcontext)&contexts[device];
    say("retain %d\n", device);
    return OK;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    CALL;
    if (!retained[device]) return INVALID_CONTEXT;
    retained[device]--;
    say("release %d\n", device);
    return OK;
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
    CALL;
    if (depth == DEPTH || !retained[context->gpu]) return INVALID_CONTEXT;
    stack[depth++] = context;
    return OK;
}

CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    CALL;
    if (!depth) return INVALID_CONTEXT;
    *context = stack[--depth];
    return OK;
}

CUresult cuCtxSynchronize(void) {
    CALL;
    IN_CONTEXT;
    arrive();
    return OK;
}

static size_t free_bytes(int gpu) {
    size_t left = (size_t)number("memory", 1LL << 30);
    for (int i = 0; i < ALLOCATIONS; i++)
        if (allocations[i].size && allocations[i].gpu == gpu) left -= allocations[i].size;
    return left;
}

CUresult cuMemGetInfo_v2(size_t *free_, size_t *total) {
    CALL;
    IN_CONTEXT;
    *free_ = free_bytes(stack[depth - 1]->gpu);
    *total = (size_t)number("memory", 1LL << 30);
    return OK;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size) {
    CALL;
    IN_CONTEXT;
    if (!size) return INVALID_VALUE;
    if (size > free_bytes(stack[depth - 1]->gpu)) return OUT_OF_MEMORY;
    for (int i = 0; i < ALLOCATIONS; i++) {
        struct allocation *a = &allocations[i];
        if (a->size) continue;
        char path[96];
        snprintf(a->name, sizeof a->name, "cuda_double_%d_%d", getpid(), ++made);
        snprintf(path, sizeof path, "/dev/shm/%s", a->name);
        int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0 || ftruncate(file, size)) abort();
        a->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (a->memory == MAP_FAILED) abort();
        a->gpu = stack[depth - 1]->gpu;
        a->size = size;
        *address = a->address = 0xdead00000000ULL + ((CUdeviceptr)made << 36);
        say("alloc %llx %zu\n", a->address, size);
        return OK;
    }
    return OUT_OF_MEMORY;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
    CALL;
    IN_CONTEXT;
    struct allocation *a = holding(address, 1);
    if (!a || a->address != address) return INVALID_VALUE;
    char path[96];
    snprintf(path, sizeof path, "/dev/shm/%s", a->name);
    unlink(path);
    munmap(a->memory, a->size);
    a->size = 0;
    say("free %llx\n", address);
    return OK;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr address) {
    CALL;
    IN_CONTEXT;
    struct allocation *a = holding(address, 1);
    if (!a || a->address != address) return INVALID_VALUE;
    memset(handle, 0xff, sizeof *handle); /* bytes that are no text */
    memcpy(handle->reserved, a->name, strlen(a->name) + 1);
    handle->reserved[63] = (char)a->gpu;
    return OK;
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size) {
    CALL;
    IN_CONTEXT;
    struct allocation *a = holding(to, size);
    if (!a || staged_count == STAGED) return INVALID_VALUE;
    struct staged *s = &staged[staged_count++];
    s->to = a->memory + (to - a->address);
    s->data = malloc(size);
    s->size = size;
    memcpy(s->data, from, size);
    say("copy %llx %zu\n", to, size);
    return OK;
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) {
    CALL;
    IN_CONTEXT;
    struct allocation *a = holding(from, size);
    if (!a) return INVALID_VALUE;
    memcpy(to, a->memory + (from - a->address), size);
    return OK;
}

CUresult cuGetErrorName(CUresult code, const char **text) {
    *text = code == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE"
          : code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
          : code == 801 ? "CUDA_ERROR_NOT_SUPPORTED" : NULL;
    return *text ? OK : INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult code, const char **text) {
    *text = code == 801 ? "operation not supported" : NULL;
    return *text ? OK : INVALID_VALUE;
}
