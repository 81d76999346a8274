/* The subcommands of `mixtune`. Each parses its own options, writes results on standard output, progress and logs on
 * standard error, and returns an exit code (enum mt_status). A command that fails records one sentence with fail();
 * main() prints it. argv[0] is "mixtune NAME", for the help text. */
#ifndef MT_CMD_H
#define MT_CMD_H

int cmd_sweep(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_correlate(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_info(int argc, char **argv);

#endif
