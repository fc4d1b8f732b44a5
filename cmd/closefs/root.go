package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// rootCommand is closefs with all its commands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:                   "closefs",
		DisableFlagsInUseLine: true,
		Short:                 "A folder whose files are on other hosts milliseconds after they were closed",
		Long: `closefs is mounted in place of a folder. It passes every operation through to the
real files, journals each completed change, and ships it to other hosts (the
targets) over SSH, where nothing has to be installed.

    closefs mount --to user@host:/srv/copy /var/www/uploads
    closefs status

Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 cannot mount,
4 timed out, 5 target unreachable or refused, 6 differences found.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w (%s --help tells more)", err, cmd.CommandPath())
	})
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(mountCommand(), statusCommand(), waitCommand(), trustCommand(),
		unmountCommand(), demoCommand(), versionCommand(), probeCommand())
	root.InitDefaultCompletionCmd(root.Name())
	return root
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		hint = "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return usagef("unknown command %q%s (closefs --help lists them)", args[0], hint)
}

// takes makes an argument check whose errors are usage errors: from least to most arguments.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usagef("%d arguments; usage: %s", len(args), cmd.UseLine())
		}
		return nil
	}
}
