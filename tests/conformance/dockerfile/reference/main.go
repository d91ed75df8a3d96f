// The reference that Dray's Dockerfile parser and its checks are held against: BuildKit's own. Prints, as a JSON
// array, what each of the named files is parsed to, and what BuildKit's linter finds in it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

type object = map[string]any

func main() {
	results := []object{}
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		result := parse(text)
		result["checks"] = checks(filepath.Base(path), text)
		results = append(results, result)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(text []byte) object {
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return object{"error": err.Error()}
	}
	stages, globals, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{}))
	if err != nil {
		return object{"error": err.Error()}
	}
	nodes := parsed.AST.Children
	next := func() *parser.Node {
		node := nodes[0]
		nodes = nodes[1:]
		return node
	}
	args := []any{}
	for i := range globals {
		args = append(args, command(&globals[i], next()))
	}
	list := []any{}
	for _, stage := range stages {
		next()
		commands := []any{}
		for _, c := range stage.Commands {
			commands = append(commands, command(c, next()))
		}
		list = append(list, object{
			"name": stage.Name, "base": stage.BaseName, "platform": stage.Platform,
			"description": stage.DocComment, "keyword": stage.OrigCmd, "lines": lines(stage.Location),
			"commands": commands,
		})
	}
	return object{"escape": string(parsed.EscapeToken), "args": args, "stages": list}
}

func lines(ranges []parser.Range) [2]int {
	return [2]int{ranges[0].Start.Line, ranges[len(ranges)-1].End.Line}
}

func command(c any, node *parser.Node) object {
	out := fields(c, node)
	named := c.(instructions.Command)
	out["keyword"] = named.Name()
	out["lines"] = lines(named.Location())
	return out
}

func fields(c any, node *parser.Node) object {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		pairs := []any{}
		for _, arg := range c.Args {
			pairs = append(pairs, object{"key": arg.Key, "value": arg.Value, "description": arg.DocComment})
		}
		return object{"pairs": pairs}
	case *instructions.EnvCommand:
		return object{"pairs": pairs(c.Env)}
	case *instructions.LabelCommand:
		return object{"pairs": pairs(c.Labels)}
	case *instructions.MaintainerCommand:
		return object{"text": c.Maintainer}
	case *instructions.AddCommand:
		out := files(c.SourcesAndDest)
		out["chown"], out["chmod"], out["link"] = c.Chown, c.Chmod, c.Link
		out["keepGitDir"], out["checksum"], out["unpack"] = c.KeepGitDir, c.Checksum, c.Unpack
		out["exclude"] = strs(c.ExcludePatterns)
		return out
	case *instructions.CopyCommand:
		out := files(c.SourcesAndDest)
		out["chown"], out["chmod"], out["link"] = c.Chown, c.Chmod, c.Link
		out["from"], out["parents"], out["exclude"] = c.From, c.Parents, strs(c.ExcludePatterns)
		return out
	case *instructions.OnbuildCommand:
		return object{"text": c.Expression}
	case *instructions.WorkdirCommand:
		return object{"text": c.Path}
	case *instructions.RunCommand:
		out := line(c.ShellDependantCmdLine)
		mounts := []string{}
		for _, flag := range node.Flags {
			if mount, ok := strings.CutPrefix(flag, "--mount="); ok {
				mounts = append(mounts, mount)
			}
		}
		devices := []any{}
		for _, device := range instructions.GetDevices(c) {
			devices = append(devices, object{"name": device.Name, "required": device.Required})
		}
		out["mounts"], out["devices"] = mounts, devices
		out["network"], out["security"] = instructions.GetNetwork(c), instructions.GetSecurity(c)
		return out
	case *instructions.CmdCommand:
		return line(c.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		return line(c.ShellDependantCmdLine)
	case *instructions.HealthCheckCommand:
		health := c.Health
		return object{
			"test": health.Test, "interval": health.Interval, "timeout": health.Timeout,
			"startPeriod": health.StartPeriod, "startInterval": health.StartInterval, "retries": health.Retries,
		}
	case *instructions.ExposeCommand:
		return object{"words": strs(c.Ports)}
	case *instructions.UserCommand:
		return object{"text": c.User}
	case *instructions.VolumeCommand:
		return object{"words": strs(c.Volumes)}
	case *instructions.StopSignalCommand:
		return object{"text": c.Signal}
	case *instructions.ShellCommand:
		return object{"words": strs(c.Shell)}
	}
	panic(fmt.Sprintf("%T", c))
}

func strs(list []string) []string {
	return append([]string{}, list...)
}

func pairs(list instructions.KeyValuePairs) []any {
	out := []any{}
	for _, pair := range list {
		out = append(out, object{"key": pair.Key, "value": pair.Value, "delimited": !pair.NoDelim})
	}
	return out
}

func files(all instructions.SourcesAndDest) object {
	contents := []any{}
	for _, file := range all.SourceContents {
		contents = append(contents, object{"name": file.Path, "content": file.Data, "expand": file.Expand})
	}
	return object{"sources": strs(all.SourcePaths), "contents": contents, "dest": all.DestPath}
}

func line(all instructions.ShellDependantCmdLine) object {
	files := []any{}
	for _, file := range all.Files {
		files = append(files, object{"name": file.Name, "content": file.Data, "chomp": file.Chomp})
	}
	return object{"words": strs(all.CmdLine), "shell": all.PrependShell, "files": files}
}

// images knows every image: for linux/amd64, with HOME in its environment.
type images struct{}

func (images) ResolveImageConfig(
	_ context.Context, ref string, _ sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	config, err := json.Marshal(object{
		"os": "linux", "architecture": "amd64", "config": object{"Env": []string{"HOME=/root"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{digest.FromString("layer").String()}},
	})
	return ref, digest.FromString(ref), config, err
}

func checks(name string, text []byte) object {
	platform := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	caps := pb.Caps.CapSet(pb.Caps.All())
	source := llb.NewSourceMap(nil, name, "Dockerfile", text)
	source.Definition = &llb.Definition{}
	results, err := dockerfile2llb.DockerfileLint(context.Background(), text, dockerfile2llb.ConvertOpt{
		SourceMap:      source,
		MetaResolver:   images{},
		LLBCaps:        &caps,
		TargetPlatform: &platform,
	})
	if err != nil {
		return object{"error": err.Error()}
	}
	warnings := []any{}
	for _, warning := range results.Warnings {
		ranges := warning.Location.Ranges
		warnings = append(warnings, object{
			"rule": warning.RuleName, "description": warning.Description, "url": warning.URL,
			"detail": warning.Detail, "lines": [2]int32{ranges[0].Start.Line, ranges[len(ranges)-1].End.Line},
		})
	}
	out := object{"warnings": warnings}
	if results.Error != nil {
		out["error"] = results.Error.Message
	}
	return out
}
