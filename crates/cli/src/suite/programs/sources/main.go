package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"sync"
)

type Item struct {
	Key    int               `json:"key"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

func items(count int) []Item {
	made := make([]Item, 0, count)
	for i := 0; i < count; i++ {
		labels := map[string]string{"a": fmt.Sprint(i % 7), "b": strings.Repeat("x", i%13)}
		made = append(made, Item{i, fmt.Sprintf("item %d", i), labels})
	}
	return made
}

func main() {
	text, err := json.Marshal(items(20000))
	if err != nil {
		panic(err)
	}
	var back []Item
	if err := json.Unmarshal(text, &back); err != nil {
		panic(err)
	}
	sort.Slice(back, func(a, b int) bool { return back[a].Name < back[b].Name })
	var group sync.WaitGroup
	sums := make(chan int, 64)
	for part := 0; part < 64; part++ {
		group.Add(1)
		go func(part int) {
			defer group.Done()
			sum := 0
			for i := part; i < len(back); i += 64 {
				sum += back[i].Key * len(back[i].Labels["b"])
			}
			sums <- sum
		}(part)
	}
	group.Wait()
	close(sums)
	total := 0
	for sum := range sums {
		total += sum
	}
	fmt.Println(len(text), back[0].Name, back[len(back)-1].Name, total)
}
