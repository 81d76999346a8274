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

/* The argument of an integer conversion; `size` begins with hh, h, l, … or nothing. */
static long long integer_of(const char *size, bool is_signed, uint64_t value, unsigned bytes) {
    if (*size == 'h')
        bytes = size[1] == 'h' ? 1 : 2;
    const unsigned unused = 64 - 8 * bytes;
    return is_signed ? (int64_t)(value << unused) >> unused : (long long)(value << unused >> unused);
}

/* One conversion of the format: `spec` is "%…", the argument is taken from the buffer at *at. It is printed by a format
 * of our own: what the host takes for an integer's or a float's size may be another than the device's. */
static bool print_one(struct warp *w, const struct insn *i, int lane, const char *spec, uint64_t buffer, unsigned *at,
                      struct str *out) {
    const size_t length = strlen(spec), flags = strcspn(spec, "hlLqjzt");
    const char kind = spec[length - 1];
    const bool is_float = strchr("fFeEgGaA", kind), is_integer = strchr("diouxX", kind);
    const unsigned bytes = is_float || kind == 's' || kind == 'p' || strpbrk(spec, "lLqjzt") ? 8 : 4;
    char format[64];
    uint64_t value = 0;
    snprintf(format, sizeof format, "%.*s%s%c", (int)(flags < length ? flags : length - 1), spec,
             is_integer ? "ll" : "", kind);
    *at = (*at + bytes - 1) / bytes * bytes;
    if (!read_generic(w, i, lane, buffer + *at, &value, bytes))
        return false;
    *at += bytes;
    if (kind == 's') {
        struct str s = {0};
        bool good = read_string(w, i, lane, value, &s);
        str_printf(out, format, str_text(&s));
        str_release(&s);
        return good;
    }
    if (is_float) {
        double d;
        memcpy(&d, &value, sizeof d);
        str_printf(out, format, d);
    } else if (kind == 'p') {
        str_printf(out, format, (void *)(uintptr_t)value);
    } else if (kind == 'c') {
        str_printf(out, format, (int)value);
    } else {
        str_printf(out, format, integer_of(spec + flags, kind == 'd' || kind == 'i', value, bytes));
    }
    return true;
}

static bool print_lane(struct warp *w, const struct insn *i, int lane, struct str *out) {
    struct str format = {0};
    uint64_t buffer = argument(w, i, lane, 1);
    unsigned at = 0;
    bool good = read_string(w, i, lane, argument(w, i, lane, 0), &format);
    const char *p = good ? str_text(&format) : "";
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
        const struct operand *to = i->dst[0].count ? &i->dst[0].vec[0] : NULL;
        if (to) {
            const uint64_t place = *(const uint64_t *)src_lanes(w, to);
            const size_t bytes = (size_t)to->imm < sizeof result ? (size_t)to->imm : sizeof result;
            memcpy(w->own->local + (size_t)lane * w->cta->local_stride + place, &result, bytes);
            local_mark(w, lane, place, bytes, true);
        }
    }
    if (out.data)
        fwrite(out.data, 1, out.length, stdout); /* a %c may be 0 */
    str_release(&out);
}

/* __assertfail(message, file, line, function, character size) */
static void call_assert(struct warp *w, const struct insn *i) {
    struct str message = {0}, file = {0}, function = {0};
    int lane = __builtin_ctz(w->exec);
    if (read_string(w, i, lane, argument(w, i, lane, 0), &message) &&
        read_string(w, i, lane, argument(w, i, lane, 1), &file) &&
        read_string(w, i, lane, argument(w, i, lane, 3), &function))
        warp_fault(w, i, lane, SG_FAULT_ASSERT, "assertion '%s' failed in %s, %s:%u", str_text(&message),
                   str_text(&function), str_text(&file), (unsigned)argument(w, i, lane, 2));
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
