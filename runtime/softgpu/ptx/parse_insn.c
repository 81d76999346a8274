/* One instruction: guard, mnemonic, modifiers, operands. */
#include "names.h"
#include "operands.h"
#include "parser.h"
#include "runtime/base/array.h"

#include <string.h>

uint64_t float_literal(const struct token *t, enum ptx_type type, bool minus) {
    uint64_t bits = t->bits;
    if (type == T_F32 && !t->single) {
        double wide;
        memcpy(&wide, &t->bits, sizeof wide);
        float narrow = (float)wide;
        bits = 0;
        memcpy(&bits, &narrow, sizeof narrow);
    } else if (type == T_F64 && t->single) {
        float narrow;
        memcpy(&narrow, &t->bits, sizeof narrow);
        double wide = (double)narrow;
        memcpy(&bits, &wide, sizeof wide);
    }
    bool is_single = type == T_F32 || (type != T_F64 && t->single);
    return minus ? bits ^ (is_single ? 1ull << 31 : 1ull << 63) : bits;
}

struct insn *insn_emit(struct parser *p, enum ptx_op op, uint32_t line) {
    struct sg_module *m = p->m;
    array_grow(&m->code, &m->insn_capacity, m->insns, sizeof *m->code);
    struct insn *i = &m->code[m->insns++];
    memset(i, 0, sizeof *i);
    i->op = (uint16_t)op;
    i->line = line;
    i->vec = 1;
    i->text = "";
    for (int k = 0; k < MAX_DST; k++)
        i->dst[k] = (struct operand){.kind = O_SINK, .width = 16};
    return i;
}

static void make_immediate(struct parser *p, struct operand *o, uint64_t bits, unsigned width) {
    uint32_t slot = module_constant(p->m, bits, width);
    *o = (struct operand){
        .kind = width ? O_IMM : O_PRED, .bank = BANK_CONST, .width = (uint8_t)width, .slot = slot & 0x7fffffff};
    o->imm = (int64_t)bits;
}

/* The address or value of a named thing, as a constant. */
bool parse_operand_symbol(struct parser *p, const struct token *name, unsigned width, struct operand *o) {
    uint32_t range;
    const struct symbol *s = symbol_find(p, name->text, name->length, &range);
    if (!s)
        return parse_error(p, "%.*s is not declared", (int)name->length, name->text);
    uint32_t scope = s->module_scope || !p->f->entry ? UINT32_MAX : p->f->index;
    uint32_t slot = 0;
    switch (s->kind) {
    case SYM_VARIABLE:
        p->m->variable[s->index].named = true;
        slot = module_symbol_constant(p->m, FIX_VARIABLE, s->index, 0, width);
        break;
    case SYM_SHARED:
        slot = module_symbol_constant(p->m, FIX_SHARED, scope, s->offset, width);
        break;
    case SYM_DYNAMIC_SHARED:
        p->m->common_dynamic |= !p->f->entry;
        slot = module_symbol_constant(p->m, FIX_DYNAMIC_SHARED, p->f->index, 0, width);
        break;
    case SYM_LOCAL:
        slot = module_symbol_constant(p->m, FIX_LOCAL, p->f->index, s->offset, width);
        break;
    case SYM_FUNCTION:
        slot = module_symbol_constant(p->m, FIX_FUNCTION, s->index, 0, width);
        break;
    case SYM_PARAM:
        slot = module_constant(p->m, s->offset, width);
        break;
    default:
        return parse_error(p, "%.*s cannot be an operand here", (int)name->length, name->text);
    }
    *o = (struct operand){.kind = O_IMM, .bank = BANK_CONST, .width = (uint8_t)width, .slot = slot & 0x7fffffff};
    return true;
}

static void make_register(struct parser *p, struct operand *o, uint32_t vreg) {
    unsigned width = p->f->vreg[vreg].width;
    p->f->vreg[vreg].used = true;
    *o = (struct operand){
        .kind = width ? O_REG : O_PRED, .bank = BANK_FRAME, .width = (uint8_t)width, .slot = vreg & 0x7fffffff};
}

/* `.b0`, `.h1`, `.b3210` behind a register of a video instruction; `select` is NULL where none may stand. */
static bool parse_select(struct parser *p, uint16_t *select) {
    const struct token *t = &p->lex.token;
    const enum ptx_op op = (enum ptx_op)p->m->code[p->m->insns - 1].op;
    if (!select || ptx_op_facts[op].group != GROUP_VIDEO)
        return parse_error(p, "%s takes no selector %.*s of this register", op_name(op), (int)t->length, t->text);
    bool half = t->text[1] == 'h';
    unsigned count = (unsigned)t->length - 2, digits = 0;
    if ((!half && t->text[1] != 'b') || count < 1 || count > 4)
        return parse_error(p, "unknown selector %.*s of a register", (int)t->length, t->text);
    for (unsigned k = 0; k < count; k++) {
        char c = t->text[t->length - 1 - k];
        if (c < '0' || c > '3')
            return parse_error(p, "unknown selector %.*s of a register", (int)t->length, t->text);
        digits |= (unsigned)(c - '0') << (2 * k);
    }
    *select = (uint16_t)((half ? 2u : 1u) << 12 | count << 8 | digits);
    lexer_next(&p->lex);
    return true;
}

/* A special register: through a register of its own, filled by a mov before the instruction, unless it is that mov. */
static bool parse_special(struct parser *p, size_t index, enum ptx_special number, struct operand *o) {
    if (p->m->code[index].op == OP_mov) {
        *o = (struct operand){.kind = O_SPECIAL, .imm = number};
        return true;
    }
    bool wide = special_is_wide(number);
    struct insn copy = p->m->code[index];
    uint32_t vreg = vreg_new(p->f, wide ? 8 : 4);
    insn_emit(p, copy.op, copy.line);
    struct insn *move = &p->m->code[index];
    p->m->code[index + 1] = copy;
    memset(move, 0, sizeof *move);
    *move = (struct insn){
        .op = OP_mov, .line = copy.line, .vec = 1, .text = "(special register)", .types = 1, .dsts = 1, .srcs = 1};
    move->type[0] = wide ? T_B64 : T_B32;
    make_register(p, &move->dst[0], vreg);
    move->dst[1] = (struct operand){.kind = O_SINK, .width = 16};
    move->src[0] = (struct operand){.kind = O_SPECIAL, .imm = number};
    make_register(p, o, vreg);
    return true;
}

struct context {      /* of an operand */
    int source;       /* number of the source, -1 for a destination */
    uint16_t *select; /* NULL: the instruction has no place for one */
};

static bool parse_scalar(struct parser *p, struct context c, struct operand *o) {
    size_t at = p->m->insns - 1;
    bool negated = parse_accept(p, "!"), minus = !negated && parse_accept(p, "-"),
         flip = !minus && parse_accept(p, "~");
    struct token t = p->lex.token;
    enum ptx_type type;
    unsigned width = operand_width(&p->m->code[at], c.source, &type);
    lexer_next(&p->lex);
    if (t.kind == TOK_INT) {
        make_immediate(p, o, flip ? ~t.bits : minus ? -t.bits : negated ? !t.bits : t.bits, width);
        return true;
    }
    if (t.kind == TOK_FLOAT) {
        make_immediate(p, o, float_literal(&t, type, minus), width);
        return true;
    }
    if (t.kind == TOK_HUGE)
        return parse_huge(p, &t);
    if (t.kind != TOK_NAME)
        return parse_error(p, "unknown operand '%.*s'", (int)t.length, t.text);
    if (token_is(&t, "_")) {
        *o = (struct operand){.kind = O_SINK, .width = 16};
        return true;
    }
    if (token_is(&t, "WARP_SZ")) {
        make_immediate(p, o, 32, width);
        return true;
    }
    uint32_t range;
    const struct symbol *s = symbol_find(p, t.text, t.length, &range);
    if (s && s->kind == SYM_REGS) {
        make_register(p, o, s->index + range);
        o->negated = negated || minus;
        if (flip || (negated && o->kind != O_PRED) || (minus && p->m->code[at].op != OP_vmad))
            return parse_error(p, "register %.*s cannot be negated here", (int)t.length, t.text);
        return p->lex.token.kind != TOK_DOT || parse_select(p, c.select);
    }
    if (t.text[0] == '%') {
        size_t length = t.length;
        if (p->lex.token.kind == TOK_DOT && p->lex.token.text == t.text + t.length) {
            length += p->lex.token.length;
            lexer_next(&p->lex);
        }
        enum ptx_special number = special_find(t.text, length);
        if (number != SR_NONE)
            return parse_special(p, at, number, o);
        return special_exists(t.text, length) ? parse_lack(p, "the register %.*s is not there", (int)length, t.text)
                                              : parse_error(p, "unknown register %.*s", (int)length, t.text);
    }
    return parse_operand_symbol(p, &t, width ? width : 4, o);
}

static bool parse_vector(struct parser *p, struct context c, struct operand *o);

/* `[reg+4]`, `[symbol]`, `[symbol+reg]` is not PTX, `[16]` */
static bool parse_address(struct parser *p, struct operand *o) {
    struct token t = p->lex.token;
    int64_t number = 0;
    uint64_t offset = 0; /* wraps as addresses do */
    p->address_is_local = false;
    if (t.kind == TOK_NAME) {
        uint32_t range;
        const struct symbol *s = symbol_find(p, t.text, t.length, &range);
        lexer_next(&p->lex);
        if (s && s->kind == SYM_REGS)
            make_register(p, o, s->index + range);
        else if (!parse_operand_symbol(p, &t, 8, o))
            return false;
        p->address_is_local = s && s->kind == SYM_LOCAL;
        while (token_is(&p->lex.token, "+") || token_is(&p->lex.token, "-")) {
            bool minus = token_is(&p->lex.token, "-");
            lexer_next(&p->lex);
            if (!parse_integer(p, &number))
                return false;
            offset += minus ? -(uint64_t)number : (uint64_t)number;
        }
        if (o->kind == O_PRED || o->width < 4 || o->width > 8)
            return parse_error(p, "register %.*s is too %s for an address", (int)t.length, t.text,
                               o->width > 8 ? "wide" : "narrow");
    } else {
        if (!parse_integer(p, &number))
            return false;
        offset = (uint64_t)number;
        make_immediate(p, o, 0, 8);
    }
    o->kind = O_ADDRESS;
    o->imm = (int64_t)offset;
    p->coordinates = (struct operand){0};
    if (parse_accept(p, ",")) /* [tensor map, {coordinates}] */
        return parse_expect(p, "{") && parse_vector(p, (struct context){-1, NULL}, &p->coordinates) &&
               parse_expect(p, "]");
    return parse_expect(p, "]");
}

static bool parse_vector(struct parser *p, struct context c, struct operand *o) {
    struct operand element[UINT8_MAX]; /* operand.count */
    uint32_t count = 0;
    do {
        if (count == UINT8_MAX)
            return parse_error(p, "a vector operand of more than %d elements", UINT8_MAX);
        if (!parse_scalar(p, (struct context){c.source, NULL}, &element[count++]))
            return false;
    } while (parse_accept(p, ","));
    /* mov.b64 {…}: an element is a part of the type */
    const struct insn *i = &p->m->code[p->m->insns - 1];
    for (uint32_t k = 0; i->op == OP_mov && k < count; k++)
        if (element[k].kind == O_IMM)
            make_immediate(p, &element[k], (uint64_t)element[k].imm, type_size((enum ptx_type)i->type[0]) / count);
    struct operand *kept = module_alloc(p->m, count * sizeof *kept);
    memcpy(kept, element, count * sizeof *kept);
    *o = (struct operand){.kind = O_VEC, .count = (uint8_t)count, .vec = kept};
    return parse_expect(p, "}");
}

static bool parse_operand(struct parser *p, struct context c, struct operand *o) {
    if (parse_accept(p, "["))
        return parse_address(p, o);
    if (parse_accept(p, "{"))
        return parse_vector(p, c, o);
    return parse_scalar(p, c, o);
}

static bool has_destination(const struct insn *i) {
    switch (i->op) {
    case OP_st:
    case OP_red:
    case OP_bra:
    case OP_brx:
    case OP_membar:
    case OP_fence:
    case OP_prefetch:
    case OP_prefetchu:
    case OP_cp:
    case OP_exit:
    case OP_ret:
    case OP_trap:
    case OP_brkpt:
    case OP_nanosleep:
    case OP_griddepcontrol:
    case OP_discard:
    case OP_applypriority:
    case OP_pmevent:
    case OP_stmatrix:
    case OP_stackrestore:
    case OP_setmaxnreg:
    case OP_multimem:
        return false;
    case OP_bar:
    case OP_barrier:
        return i->sub == SUB_RED;
    case OP_mbarrier:
    case OP_wgmma:
        return i->sub == SUB_ARRIVE || i->sub == SUB_ARRIVE_DROP || i->sub == SUB_TEST_WAIT || i->sub == SUB_TRY_WAIT ||
               i->sub == SUB_MMA;
    default:
        return true;
    }
}

static bool apply_modifier(struct parser *p, struct insn *i, const struct token *t) {
    struct modifier m = modifier_find((enum ptx_op)i->op, t->text + 1, t->length - 1);
    switch (m.kind) {
    case MOD_TYPE:
        if (i->types == sizeof i->type)
            return parse_lack(p, "too many types");
        i->type[i->types++] = (uint8_t)m.value;
        break;
    case MOD_ROUND:
        i->rnd = (uint8_t)m.value;
        break;
    case MOD_COMPARE:
        i->cmp = (uint8_t)m.value;
        break;
    case MOD_SUB:
        if (i->sub || i->op == OP_setp || i->op == OP_set)
            i->boolop = (uint8_t)m.value;
        else
            i->sub = (uint8_t)m.value;
        break;
    case MOD_SPACE:
        if (m.value == SPACE_OF_CLUSTER) {
            i->flags |= F_REMOTE;
            m.value = SPACE_SHARED;
        }
        if (i->space)
            i->space2 = (uint8_t)m.value;
        else
            i->space = (uint8_t)m.value;
        break;
    case MOD_FLAG:
        /* mma.….row.col: the first is A's layout, the second B's */
        if ((m.value == BIT_ROW_A || m.value == BIT_COL_A) && (i->flags & (F_ROW_A | F_COL_A)))
            m.value = m.value == BIT_ROW_A ? BIT_ROW_B : BIT_COL_B;
        i->flags |= 1ull << m.value;
        break;
    case MOD_VEC:
        i->vec = (uint8_t)m.value;
        break;
    case MOD_NUM:
        i->num = (uint8_t)m.value;
        break;
    case MOD_SHAPE:
        for (int k = 0; k < 3; k++)
            i->shape[k] = (uint16_t)(m.value >> (10 * k) & 1023);
        break;
    case MOD_IGNORE:
        break;
    case MOD_UNKNOWN:
        return parse_lack(p, "unknown modifier %.*s of %s", (int)t->length, t->text, op_name((enum ptx_op)i->op));
    }
    return true;
}

static bool parse_guard(struct parser *p, uint32_t *vreg, bool *negated, bool *guarded) {
    *guarded = parse_accept(p, "@");
    if (!*guarded)
        return true;
    *negated = parse_accept(p, "!");
    uint32_t range;
    struct token t = p->lex.token;
    const struct symbol *s = t.kind == TOK_NAME ? symbol_find(p, t.text, t.length, &range) : NULL;
    if (!s || s->kind != SYM_REGS || p->f->vreg[s->index + range].width != 0)
        return parse_error(p, "the guard %.*s is not a predicate", (int)t.length, t.text);
    *vreg = s->index + range;
    p->f->vreg[*vreg].used = true;
    lexer_next(&p->lex);
    return true;
}

static bool parse_branch(struct parser *p, struct insn *i) {
    size_t at = p->m->insns - 1;
    if (i->op == OP_brx) {
        if (!parse_scalar(p, (struct context){0, NULL}, &i->src[0]) || !parse_expect(p, ","))
            return false;
        i = &p->m->code[p->m->insns - 1];
        i->srcs = 1;
        at = p->m->insns - 1;
    } else {
        i->src[0] = (struct operand){.kind = O_LABEL};
        i->srcs = 1;
    }
    label_used(p, (uint32_t)at, 0, &p->lex.token);
    lexer_next(&p->lex);
    return true;
}

/* Operands are parsed into a local array because parsing a special register may move the instruction. */
static bool parse_operands(struct parser *p) {
    struct insn shape = p->m->code[p->m->insns - 1];
    struct operand dst[MAX_DST], src[MAX_SRC];
    uint16_t select[4] = {0};
    int dsts = 0, srcs = 0;
    memcpy(dst, shape.dst, sizeof dst);
    memcpy(src, shape.src, sizeof src);
    bool destination = has_destination(&shape) && !token_is(&p->lex.token, ";");
    if (destination) {
        do {
            if (dsts == MAX_DST)
                return parse_error(p, "too many destinations");
            if (!parse_operand(p, (struct context){-1, dsts ? NULL : &select[0]}, &dst[dsts]))
                return false;
            dsts++;
        } while (parse_accept(p, "|"));
    }
    bool more = destination ? parse_accept(p, ",") : !token_is(&p->lex.token, ";");
    while (more) {
        if (srcs == MAX_SRC)
            return parse_lack(p, "too many operands");
        if (!parse_operand(p, (struct context){srcs, srcs < 3 ? &select[srcs + 1] : NULL}, &src[srcs]))
            return false;
        srcs++;
        if (src[srcs - 1].kind == O_ADDRESS &&
            p->coordinates.kind != O_NONE) { /* an operand of their own, behind the map */
            if (srcs == MAX_SRC)
                return parse_lack(p, "too many operands");
            src[srcs++] = p->coordinates;
        }
        more = parse_accept(p, ",");
    }
    struct insn *i = &p->m->code[p->m->insns - 1];
    memcpy(i->dst, dst, sizeof dst);
    memcpy(i->src, src, sizeof src);
    memcpy(i->select, select, sizeof select);
    i->dsts = (uint8_t)dsts;
    i->srcs = (uint8_t)srcs;
    return true;
}

/* For messages: the text with every run of blanks as one. */
static const char *one_line(struct parser *p, const char *text, size_t length) {
    char *line = module_string(p->m, text, length);
    size_t used = 0;
    for (size_t k = 0; k < length; k++) {
        bool blank = strchr(" \t\r\n", line[k]) != NULL;
        if (!blank)
            line[used++] = line[k];
        else if (used && line[used - 1] != ' ')
            line[used++] = ' ';
    }
    line[used] = '\0';
    return line;
}

/* ld.param and st.param: of the kernel's own parameters, or of variables for calls, which are local memory. */
static bool settle_param_space(struct parser *p, struct insn *i) {
    const struct operand *o = &i->src[0];
    bool fixed = o->bank == BANK_CONST;
    if ((i->op != OP_ld && i->op != OP_st) || i->space != SPACE_PARAM || o->kind != O_ADDRESS)
        return true;
    i->aux[0] = (fixed ? p->address_is_local : !p->f->entry) ? PARAM_LOCAL : PARAM_BLOCK;
    if (!fixed || i->aux[0] == PARAM_LOCAL)
        return true;
    uint64_t offset, bytes = (uint64_t)type_size((enum ptx_type)i->type[0]) * i->vec;
    memcpy(&offset, p->m->constants + o->slot, sizeof offset);
    offset += (uint64_t)o->imm;
    if (offset > p->f->param_bytes || bytes > p->f->param_bytes - offset || bytes == 0 || offset % bytes)
        return parse_error(p, "an access of parameter bytes %llu … of %u, or a misaligned one",
                           (unsigned long long)offset, p->f->param_bytes);
    i->aux[0] = PARAM_FIXED;
    i->aux[1] = (uint32_t)offset;
    return true;
}

/* One statement adds little, so it is enough to look behind each. */
static bool check_limits(struct parser *p) {
    if (p->m->constant_bytes > BANK_MOST)
        return parse_error(p, "the numbers in the instructions of a module take more than %d bytes", BANK_MOST);
    return p->f->vregs <= REGISTERS_MOST || parse_error(p, "a function with more than %d registers", REGISTERS_MOST);
}

/* Modifiers and operands; the current token is the mnemonic. */
static bool parse_known(struct parser *p, enum ptx_op op) {
    struct insn *i = insn_emit(p, op, p->lex.token.line);
    lexer_next(&p->lex);
    while (p->lex.token.kind == TOK_DOT) {
        if (!apply_modifier(p, i, &p->lex.token))
            return false;
        lexer_next(&p->lex);
    }
    return op == OP_call ? parse_call(p, i) : op == OP_bra || op == OP_brx ? parse_branch(p, i) : parse_operands(p);
}

bool parse_statement(struct parser *p) {
    uint32_t guard = 0;
    bool negated = false, guarded = false;
    const char *start = p->lex.token.text;
    if (!parse_guard(p, &guard, &negated, &guarded))
        return false;
    const struct lexer mnemonic = p->lex;
    const struct token *name = &mnemonic.token;
    const size_t first = p->m->insns;
    enum ptx_op op = name->kind == TOK_NAME ? op_find(name->text, name->length) : OP_COUNT;
    p->lack[0] = '\0';
    bool good = op != OP_COUNT && op != OP_unknown
                    ? parse_known(p, op)
                    : parse_lack(p, "unknown instruction %.*s", (int)name->length, name->text);
    if (!good && p->lack[0]) {
        p->lex = mnemonic;
        good = parse_unknown(p, first, name->line);
    }
    if (!good)
        return false;
    struct insn *i = &p->m->code[p->m->insns - 1];
    i->guarded = guarded;
    i->guard_slot = guard;
    i->guard_xor = negated ? UINT32_MAX : 0;
    i->text = one_line(p, start, (size_t)(p->lex.token.text - start));
    return settle_param_space(p, i) && check_limits(p) && parse_expect(p, ";");
}
