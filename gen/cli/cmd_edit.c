/* cmd_edit.c - `gen edit`: changes a picture, or the frames of a clip, with a bridge model.
 *
 * It is `gen image` with something to start from; clips.c reads and writes the frames. */
#include "gen/cli/image_run.h"

int cli_edit(const cli_settings *settings, cli_reporter *r)
{
    gen_error err;
    gen_status status = GEN_OK;
    if (!settings->input) {
        status = cli_fail(&err, GEN_ERROR_ARGUMENT, "nothing to change");
        cli_hint(&err, "gen edit -i photo.png \"at night\" -o night.png; -m names another model");
    }
    if (!status)
        return cli_run(settings, r, true);
    cli_report_error(r, &err);
    return cli_exit_code(status);
}
