/* Functions that a module calls but does not define: device printf and the failing assert. */
#include "parts.h"
#include "runtime/base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads through a generic address as this lane; false after a fault. */
static bool read_generic(struct warp *w, const struct insn *i, int lane, uint64_t address, void *target,
                         unsigned bytes) {
    if ((address & WINDOW_MASK) == LOCAL_WINDOW) {
        for (unsigned k = 0; k < bytes; k++) {
            const uint8_t *p = local_pointer(w, i, lane, (address & ~WINDOW_MASK) + k, 1);
            if (!p)
                return false;
            ((uint8_t *)target)[k] = *p;
        }
        return true;
    }
    if (!global_pointer(w, i, lane, address, bytes))
        return false;
    global_read(w, target, address, bytes);
    return true;
}

static bool read_string(struct warp *w, const struct insn *i, int lane, uint64_t address, struct str *out) {
    for (char c = 1;; address++) {
        if (!read_generic(w, i, lane, address, &c, 1))
            return false;
        if (!c)
            return true;
        str_append_bytes(out, &c, 1);
    }
}

/* The k-th argument of the call, in the caller's local memory. */
static uint64_t argument(const struct warp *w, const struct insn *i, int lane, unsigned k) {
    const struct operand *o = &i->src[1].vec[k];
    uint64_t value = 0;
    memcpy(&value, w->own->local + (size_t)lane * w->cta->local_stride + *(const uint64_t *)src_lanes(w, o),
           (size_t)o->imm < 8 ? (size_t)o->imm : 8);
    return value;
}

/* One conversion of the format: `spec` is "%…", the argument is taken from the buffer at *at. */
static bool print_one(struct warp *w, const struct insn *i, int lane, char *spec, uint64_t buffer, unsigned *at,
                      struct str *out) {
    size_t length = strlen(spec);
    char kind = spec[length - 1];
    bool wide = strchr("fFeEgGaAsp", kind) || strchr(spec, 'l') || strchr(spec, 'j') || strchr(spec, 'z');
    unsigned bytes = wide ? 8 : 4;
    uint64_t value = 0;
    *at = (*at + bytes - 1) / bytes * bytes;
    if (!read_generic(w, i, lane, buffer + *at, &value, bytes))
        return false;
    *at += bytes;
    char text[512], format[64];
    if (kind == 's') {
        struct str s = {0};
        bool good = read_string(w, i, lane, value, &s);
        snprintf(text, sizeof text, spec, s.data ? s.data : "");
        str_release(&s);
        str_append(out, text);
        return good;
    }
    if (strchr("fFeEgGaA", kind)) {
        double d;
        memcpy(&d, &value, sizeof d);
        snprintf(text, sizeof text, spec, d);
    } else if (kind == 'p') {
        snprintf(text, sizeof text, spec, (void *)(uintptr_t)value);
    } else if (kind == 'c') {
        snprintf(text, sizeof text, spec, (int)value);
    } else { /* integers: all as long long, by a format of our own */
        bool is_signed = kind == 'd' || kind == 'i';
        size_t digits = strcspn(spec, "hlLqjzt");
        digits = digits < length - 1 ? digits : length - 1;
        snprintf(format, sizeof format, "%.*sll%c", (int)digits, spec, kind);
        snprintf(text, sizeof text, format,
                 wide        ? (long long)value
                 : is_signed ? (long long)(int32_t)value
                             : (long long)(uint32_t)value);
    }
    str_append(out, text);
    return true;
}

static bool print_lane(struct warp *w, const struct insn *i, int lane, struct str *out) {
    struct str format = {0};
    uint64_t buffer = argument(w, i, lane, 1);
    unsigned at = 0;
    bool good = read_string(w, i, lane, argument(w, i, lane, 0), &format);
    const char *p = good && format.data ? format.data : "";
    while (good && *p) {
        size_t plain = strcspn(p, "%");
        str_append_bytes(out, p, plain);
        p += plain;
        if (p[0] == '%' && p[1] == '%') {
            str_append(out, "%");
            p += 2;
        } else if (*p) {
            size_t length = 1 + strspn(p + 1, "-+ #0123456789.hlLqjzt");
            char spec[48];
            length += p[length] != '\0';
            snprintf(spec, sizeof spec, "%.*s", (int)length, p);
            p += length;
            good = length < sizeof spec && length > 1 && strchr("diouxXcfFeEgGaAsp", spec[length - 1]) &&
                   print_one(w, i, lane, spec, buffer, &at, out);
        }
    }
    str_release(&format);
    return good;
}

static void call_printf(struct warp *w, const struct insn *i) {
    struct str out = {0};
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        int32_t result = print_lane(w, i, lane, &out) ? 0 : -1;
        if (i->dst[0].count)
            memcpy(w->own->local + (size_t)lane * w->cta->local_stride +
                       *(const uint64_t *)src_lanes(w, &i->dst[0].vec[0]),
                   &result, sizeof result);
    }
    if (out.data)
        fputs(out.data, stdout);
    str_release(&out);
}

/* __assertfail(message, file, line, function, character size) */
static void call_assert(struct warp *w, const struct insn *i) {
    struct str message = {0}, file = {0}, function = {0};
    int lane = __builtin_ctz(w->exec);
    if (read_string(w, i, lane, argument(w, i, lane, 0), &message) &&
        read_string(w, i, lane, argument(w, i, lane, 1), &file) &&
        read_string(w, i, lane, argument(w, i, lane, 3), &function))
        warp_fault(w, i, lane, SG_FAULT_ASSERT, "assertion '%s' failed in %s, %s:%u", message.data ? message.data : "",
                   function.data ? function.data : "", file.data ? file.data : "", (unsigned)argument(w, i, lane, 2));
    str_release(&message);
    str_release(&file);
    str_release(&function);
}

void call_extern(struct warp *w, const struct insn *i, const char *name) {
    if (strcmp(name, "vprintf") == 0 && i->src[1].count == 2)
        call_printf(w, i);
    else if (strcmp(name, "__assertfail") == 0 && i->src[1].count == 5)
        call_assert(w, i);
    else
        warp_fault(w, i, -1, SG_FAULT_UNSUPPORTED, "a call of %s, which the module does not define", name);
}
