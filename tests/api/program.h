/* program.h - running the program as people do, for tests: exit code, stdout, stderr, files.
 *
 * Each run has one folder as its working and home directory, empty at the beginning of a test, and
 * only its own variables. */
#ifndef GEN_TESTS_API_PROGRAM_H
#define GEN_TESTS_API_PROGRAM_H

#include <sys/types.h>

#include "tests/test.h"

/* What the latest run wrote, cut at the size of the arrays. */
extern char program_out[65536], program_errors[65536];

/* The program's file and the model that the word MODEL stands for.  Not 0: a message was printed.
 */
int program_init(const char *program, const char *model);

/* Make the folder and remove it: setup and teardown of cmocka. */
int program_set_up(void **state);
int program_tear_down(void **state);

/* folder/name; valid until the next call.  "" is the folder. */
const char *program_path(const char *name);

/* The visible files of a folder in it, sorted, with a space behind each. */
const char *program_files(const char *sub);

/* Writes a text file into the folder; fails the test where it cannot. */
void program_write(const char *name, const char *text);

/* Runs a command of the shell, printf'd from two words; fails the test when it fails. */
void program_shell(const char *format, const char *a, const char *b);

/* Starts the program.  The line is split at spaces, '...' keeps a word together, and MODEL is the
 * tiny model.  `variable` ("NAME=value", several with line ends between them) and the file for
 * stdout may be NULL. */
pid_t program_start(const char *line, const char *variable, const char *stdout_path);

/* Waits for it: the exit code, or 1000 plus a signal.  has_stdout: it had no file for stdout. */
int program_finish(pid_t pid, bool has_stdout);

/* Both. */
int program_run(const char *line, const char *variable);

/* Fails the test when the exit code is another. */
void program_expect(int expected, const char *line);

#endif
