/* program.c - the entry; apart, so that tests can link the rest. */
#include "gen/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
