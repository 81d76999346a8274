/* The subcommands of `mixtune`. Each parses its own options, writes results on standard output, progress and logs on
 * standard error, and returns an exit code (enum mt_status). A command that fails records one sentence with fail();
 * main() prints it. argv[0] is "mixtune NAME", for the help text. */
#ifndef MT_CMD_H
#define MT_CMD_H

/* Every subcommand, in the order of `mixtune --help`, with its line there. NAME stands for tuner/cmd/NAME.c, in which
 * cmd_NAME() is. */
#define COMMAND_LIST(COMMAND)                                                                                          \
    COMMAND(sweep, "measure every configuration for the layers of a model")                                            \
    COMMAND(bench, "time a few configurations of one shape beside the baseline")                                       \
    COMMAND(verify, "compare kernels with the exact reference, element by element")                                    \
    COMMAND(probe, "measure what the device can do at best")                                                           \
    COMMAND(report, "plots and tables of what a database holds")                                                       \
    COMMAND(replay, "play a search against a stored exhaustive sweep")                                                 \
    COMMAND(correlate, "how well modelled times rank measured ones")                                                   \
    COMMAND(export, "write the bundle of one GPU type, the file that a serving engine dispatches from")                \
    COMMAND(merge, "join databases of many machines, and T4 results")                                                  \
    COMMAND(quantize, "round a model's linear layers to 4 and 8 bits, packed as the kernels read them")                \
    COMMAND(convert, "write a quantised checkpoint in another format, without changing a weight")                      \
    COMMAND(show, "print the measurements and winners of a database")                                                  \
    COMMAND(info, "the device, the kernels and their knobs, the known models")

#define COMMAND_DECLARED(name, doc) int cmd_##name(int argc, char **argv);
COMMAND_LIST(COMMAND_DECLARED)

#endif
