package randomisation

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/chance"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// maxBlock bounds the size of a block. Longer blocks do not keep the arms balanced.
const maxBlock = 1_000

// Generate makes a list of permuted blocks from the seed. For every stratum it adds blocks until there are enough
// entries; for each block it draws the size and then the order of the arms. It refuses study_not_found, no_protocol,
// study_not_randomised, stage_not_found, value_missing, value_too_long, scheme_exists, invalid_ratio, invalid_blocks,
// value_out_of_range, too_many_strata and list_too_long.
func Generate(r Randomisation, s study.Study, cmd GenerateRandomisationList, _ domain.Call) ([]Event, error) {
	factors, arms, err := r.newScheme(s, cmd.Study, cmd.Stage, cmd.Scheme)
	if err != nil {
		return nil, err
	}
	shares, err := sharesOf(cmd.Ratio, arms)
	if err != nil {
		return nil, err
	}
	strata, ok := strataOf(factors)
	if !ok {
		return nil, tooManyStrata(strata)
	}
	plan := Plan{Shares: shares, BlockSizes: slices.Sorted(slices.Values(cmd.BlockSizes)), PerStratum: cmd.PerStratum}
	if err := domain.First(checkBlocks(plan), domain.Between("perStratum", cmd.PerStratum, 1, maxRows)); err != nil {
		return nil, err
	}
	if n := strata * cmd.PerStratum; n > maxRows {
		return nil, listTooLong("perStratum", "rows or more", n)
	}
	from, err := chance.Parse(cmd.Seed)
	if err != nil {
		return nil, err
	}
	l := generateList(plan, factors, strata, from)
	if n := len(l.rows); n > maxRows {
		return nil, listTooLong("perStratum", "rows", n)
	}
	hash := l.hash(&from)
	parts := l.parts(hash)
	events := make([]Event, len(parts))
	for i, part := range parts {
		e := ListGenerated{Study: cmd.Study, Scheme: cmd.Scheme, Part: i + 1, Parts: len(parts), Rows: len(l.rows), SHA256: hash,
			SeedCommitment: from.Commitment(), Seed: blind.Of(from.String()), Plan: blind.Of(plan), List: blind.Of(part)}
		if i == 0 {
			e.Factors = factors
		}
		events[i] = e
	}
	return events, nil
}

// generateList makes the list that follows from plan, factors and seed.
func generateList(plan Plan, factors []Factor, strata int, from chance.Seed) list {
	return generateRows(plan, factors, strata, func(stratum int) string { return fmt.Sprintf("list/%d", stratum) }, from)
}

// generateRows makes the list from numbers of the seed that are named differently for each stratum.
func generateRows(plan Plan, factors []Factor, strata int, named func(stratum int) string, from chance.Seed) list {
	l := list{factors: factors, arms: armsOf(plan.Shares)}
	sum := sumOf(plan.Shares)
	for stratum := range strata {
		numbers := from.Numbers(named(stratum))
		for n := 0; n < plan.PerStratum; {
			size := plan.BlockSizes[numbers.Below(len(plan.BlockSizes))]
			block := make([]int, 0, size)
			for arm, share := range plan.Shares {
				block = append(block, slices.Repeat([]int{arm}, share.Ratio*(size/sum))...)
			}
			numbers.Shuffle(block)
			for _, arm := range block {
				l.rows = append(l.rows, Row{stratum, arm})
			}
			n += size
		}
	}
	return l
}

// checkBlocks refuses block sizes that are not multiples of the ratio's sum, or that occur twice (code invalid_blocks).
func checkBlocks(p Plan) error {
	sum := sumOf(p.Shares)
	if len(p.BlockSizes) == 0 {
		return invalidBlocks("there is no block size")
	}
	for i, size := range p.BlockSizes {
		switch {
		case size < 1 || size > maxBlock:
			return invalidBlocks("a block of %d is not one of 1 to %d", size, maxBlock)
		case size%sum != 0:
			return invalidBlocks("a block of %d cannot hold the arms in the ratio, whose sum is %d", size, sum)
		case i > 0 && size == p.BlockSizes[i-1]:
			return invalidBlocks("the block size %d is there twice", size)
		}
	}
	return nil
}

func invalidBlocks(format string, args ...any) error {
	return refuse.Because("invalid_blocks", format, args...).At("blockSizes").Do("use different multiples of the ratio's sum")
}
