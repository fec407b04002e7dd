# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# How fetch-kernel.sh and fetch-qemu.sh, which source this, have packages of Debian's
# that are not for this system: from lists of their own, in $work, so that the host's apt
# configuration stays as it is. Wants die().
# shellcheck disable=SC2154 # who sources this has $work

# debian_site: where apt gets Debian from
debian_site()
{
	local site

	# shellcheck disable=SC2016 # apt expands the $(...)
	site=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' \
		"Created-By: Packages" | sed -n 's/^bookworm //p' | head -n 1)
	[[ $site ]] || die "apt has no source for Debian bookworm to find others from"
	echo "$site"
}

# apt_installed: set APT to the options with which apt sees what the system has
apt_installed()
{
	mkdir -p "$work/lists" "$work/archives/partial"
	APT=(-q -o APT::Sandbox::User="$(id -un)")
}

# apt_private: ... with lists of its own
apt_private()
{
	APT+=(-o Dir::State::lists="$work/lists" -o Dir::Cache="$work")
}

# apt_backports: ... of bookworm-backports
apt_backports()
{
	local site

	site=$(debian_site) || exit 1
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"$site bookworm-backports main" >"$work/backports.list"
	apt_private
	APT+=(-o Dir::Etc::sourcelist="$work/backports.list" -o Dir::Etc::sourceparts=/dev/null)
}
