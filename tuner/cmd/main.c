/* mixtune: finds, proves and ships the fastest kernel for every quantised linear layer of a model on a GPU. */
#include "cmd.h"
#include "runtime/base/log.h"
#include "runtime/base/memory.h"
#include "runtime/base/near.h"
#include "runtime/base/status.h"
#include "tuner/options.h"
#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
    const char *name, *full_name, *doc;
    int (*run)(int argc, char **argv);
} commands[] = {
#define COMMAND(name, doc) {#name, "mixtune " #name, doc, cmd_##name},
    COMMAND_LIST(COMMAND)
#undef COMMAND
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out) {
    fputs("Usage: mixtune COMMAND [OPTION...]\n\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].doc);
    fputs(
        "\n`mixtune COMMAND --help` explains each. Without --device: the first CUDA device, else the software device\n"
        "soft:a100-sxm-80g. Exit codes: 0 good, 1 failure, 2 wrong results, 3 regression, 64 usage, 69 no such\n"
        "device, 75 interrupted (the same command goes on from there).\n",
        out);
}

static const struct command *find_command(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static int no_command(const char *name) {
    struct near near = {.wanted = name};
    struct str instead = {0};
    for (int i = 0; i < COMMANDS; i++)
        near_offer(&near, commands[i].name);
    near_print(&near, "; `mixtune --help` lists them", &instead);
    log_error("there is no command `%s`%s", name, instead.data);
    str_release(&instead);
    return MT_USAGE;
}

static int run_command(const struct command *command, int argc, char **argv) {
    argv[0] = (char *)command->full_name;
    int status = command->run(argc, argv);
    const bool written = fflush(stdout) == 0 && !ferror(stdout); /* what both streams go to has the sentence last */
    if (status != MT_OK && *fail_message())
        log_error("%s", fail_message());
    if (!written) {
        log_error("could not write all results to standard output: is the disk full?");
        return status == MT_OK ? MT_FAILURE : status;
    }
    return status;
}

static void end_without_memory(void) {
    log_error("%s", fail_message());
    exit(MT_FAILURE);
}

int main(int argc, char **argv) {
    memory_end_with(end_without_memory);
    json_set_alloc_funcs(xmalloc, free); /* it loses characters of a text where memory is short */
    log_share();
    argp_program_version = MIXTUNE_VERSION;
    argp_err_exit_status = MT_USAGE;
    const char *name = argc > 1 ? argv[1] : "--help";
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_help(argc > 1 ? stdout : stderr);
        return argc > 1 ? MT_OK : MT_USAGE;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        puts(MIXTUNE_VERSION);
        return MT_OK;
    }
    const struct command *command = find_command(name);
    if (!command) {
        return no_command(name);
    }
    return run_command(command, argc - 1, argv + 1);
}
