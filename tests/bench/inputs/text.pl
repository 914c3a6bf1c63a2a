# SPDX-License-Identifier: Apache-2.0
# Makes text, takes it apart with regular expressions, and counts, groups and sorts the words in hashes of arrays.
use strict;
use warnings;

my $seed = 54321;

sub random {
    my ($bound) = @_;
    $seed = ($seed * 1103515245 + 12345) % 2147483648;
    return int($seed / 65536) % $bound;
}

my @syllables = qw(ka to mi ra ne so lu pi da ve ho zu);
my (%count, %lines);
for my $line (1 .. 60000) {
    my $text = join ' ', map { join '', map { $syllables[ random(12) ] } 1 .. 1 + random(4) } 1 .. 12;
    $text =~ s/(ka|to)(\w+)/$2$1/g;
    for my $word (split / /, $text) {
        $count{$word}++;
        push @{ $lines{$word} }, $line if length $word > 3;
    }
}
my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print scalar(@sorted), "\n";
print "$_ $count{$_} ", scalar(@{ $lines{$_} || [] }), "\n" for @sorted[ 0 .. 99 ];
my %pairs;
push @{ $pairs{ substr $_, 0, 3 } }, $_ for @sorted;
print join(',', map { "$_=" . scalar @{ $pairs{$_} } } sort keys %pairs), "\n";
