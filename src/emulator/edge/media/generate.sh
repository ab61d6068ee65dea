#!/usr/bin/env bash
# Makes the media that the emulator plays: 360p.mp4, 720p.mp4 and 1080p.mp4 next to this script.
#
# Each is a fragmented MP4 with H.264 and AAC: 12.8 s in 8 fragments of 1.6 s, which are exactly 40
# frames at 25 per second and 75 AAC frames of 1,024 samples at 48,000 per second. So the loop has no
# gap, and a new sequence number and new decode times move a fragment to any time.
#
# The AAC frames come from the middle of a longer recording, because the first frames of an encoder
# contain padding. The tone has a period of 3.2 s, so it loops as well.
#
# Needs ffmpeg with libx264 (Debian: ffmpeg) and the DejaVu fonts (Debian: fonts-dejavu-core). Run
# this to change the media, and commit the result; `cargo test edge::media` checks it.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# With one thread and without version strings, the same ffmpeg makes the same bytes.
run() { ffmpeg -hide_banner -loglevel error -nostdin -y -threads 1 "$@"; }
exact=(-fflags +bitexact -flags:v +bitexact -flags:a +bitexact)

font=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
frames_of_loop=600
frames_before=450

sound() {
    run -f lavfi -i "aevalsrc='0.05*sin(2*PI*220*t)*(0.6+0.4*cos(2*PI*t/3.2))':s=48000:d=26" \
        "${exact[@]}" -c:a aac -b:a 48k -ac 2 "$work/long.m4a"
    local dropped="lt(n,$frames_before)+gte(n,$frames_before+$frames_of_loop)"
    run -i "$work/long.m4a" -c copy -bsf:a "noise=drop='$dropped',setts=ts=N*1024" \
        "${exact[@]}" "$work/loop.m4a"
}

rendition() { # HEIGHT WIDTH QUALITY PROFILE LEVEL
    local label="drawtext=fontfile=$font:fontcolor=white:x=w*0.03"
    run -f lavfi -i "testsrc2=size=$2x$1:rate=25:duration=12.8" -vf "\
drawbox=x=0:y=ih*0.80:w=iw:h=ih*0.2:color=black@0.75:t=fill,\
$label:fontsize=h*0.055:y=h*0.835:text='ivs-playback-auth emulator  $1p',\
$label:fontsize=h*0.05:y=h*0.915:text='%{eif\:t\:d} s of 12.8'" \
        "${exact[@]}" -an -c:v libx264 -preset veryslow -profile:v "$4" -level:v "$5" -crf "$3" \
        -pix_fmt yuv420p -bf 0 -g 40 -keyint_min 40 -sc_threshold 0 \
        -x264-params force-cfr=1:threads=1 "$work/$1.mp4"
    run -i "$work/$1.mp4" -i "$work/loop.m4a" -map 0:v -map 1:a -c copy \
        "${exact[@]}" -movflags frag_keyframe+empty_moov+default_base_moof+skip_trailer "$1p.mp4"
}

sound
rendition 360 640 34 main 3.0
rendition 720 1280 36 main 3.1
rendition 1080 1920 38 high 4.0
